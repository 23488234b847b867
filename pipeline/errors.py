"""The errors a user can meet, and the exit code each one ends with.

    VisualThoughtError            3   data or integrity
    ├── ConfigError               2   a recipe, flag or path that cannot be meant
    ├── ManifestError             3   a data manifest or label table that contradicts itself or its dataset
    ├── DatasetError              3   a dataset that is missing, short or damaged
    │   └── FrameError            3   one frame of it that is missing or damaged
    ├── WeightsError              3   a checkpoint that is missing, incomplete or of another kind
    ├── StoreError                3   a feature store that cannot be used
    │   ├── StoreMismatch         4   made by something else than what was asked for (fingerprints differ)
    │   ├── StoreIncomplete       3   parts or rows are missing
    │   └── StoreCorrupt          3   bytes are not what their receipt or checksum says
    ├── MachineError              5   disk full, no such device, not permitted
    ├── MissingDependency         5   an optional package is not installed
    └── Interrupted              75   stopped by a signal; the same command resumes

Anything else that escapes is a bug and shows its traceback.
"""

_LONGEST = 20_000


class VisualThoughtError(Exception):
    """One problem, said once: what is wrong, what was found, what was expected, what to do.

    ``found`` and ``expected`` may be any value; lists are joined by commas. All three parts after
    ``problem`` are optional, and the message prints them on lines of their own.
    """

    exit_code = 3

    def __init__(
        self, problem: str, *, found: object = None, expected: object = None, remedy: str | None = None
    ) -> None:
        self.problem, self.found, self.expected, self.remedy = problem, found, expected, remedy
        super().__init__(problem)

    def __str__(self) -> str:
        lines = [self.problem]
        for label, value in (("found", self.found), ("expected", self.expected), ("to do", self.remedy)):
            if value is not None:
                lines.append(f"  {label + ':':<10}{_said(value)}")
        return _harmless("\n".join(lines))


class ConfigError(VisualThoughtError):
    """A recipe, flag or path that cannot be meant."""

    exit_code = 2


class ManifestError(VisualThoughtError):
    """A data manifest or label table that contradicts itself or its dataset."""


class DatasetError(VisualThoughtError):
    """A dataset that is missing, short or damaged."""


class FrameError(DatasetError):
    """One frame that is missing or damaged; the rest of the dataset may be used without its episode."""


class WeightsError(VisualThoughtError):
    """A checkpoint that is missing, incomplete or of another kind."""


class StoreError(VisualThoughtError):
    """A feature store that cannot be used."""


class StoreMismatch(StoreError):
    """The store, or one of its arrays, was made by something else than what was asked for."""

    exit_code = 4


class StoreIncomplete(StoreError):
    """Parts or rows are missing."""


class StoreCorrupt(StoreError):
    """Bytes are not what their receipt or checksum says."""


class MachineError(VisualThoughtError):
    """The machine cannot do it: disk full, no such device, not permitted."""

    exit_code = 5


class MissingDependency(VisualThoughtError):
    """An optional package is not installed."""

    exit_code = 5


class Stalled(MachineError):
    """A stage of the work makes no progress."""


class Interrupted(VisualThoughtError):
    """Stopped by a signal; running the same command again resumes."""

    exit_code = 75


def _harmless(text: str) -> str:
    """A message may quote a file that came from anywhere: no control characters, and no more than can be read."""
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown)


def _said(value: object) -> str:
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = sorted(map(str, value)) if isinstance(value, (set, frozenset)) else [str(item) for item in value]
        return ", ".join(parts) if parts else "(nothing)"
    return str(value)
