"""What a sweep is told: a file of blocks, each varying one factor, and where to read and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...pipeline.config import build, load_yaml, parse_yaml
from ...pipeline.errors import ConfigError
from ...pipeline.place import Place
from ..config import RECIPES

SWEEPS = RECIPES / "sweeps"


@dataclass(frozen=True)
class Block:
    """One ablation: everything as the blocks before left it, and one factor varied."""

    name: str
    """What the table calls it."""
    values: tuple[Any, ...]
    """The factor's values; for several keys, a list of as many values each."""
    key: str | None = None
    """The recipe key that varies (``optimizer.lr``)."""
    keys: tuple[str, ...] = ()
    """Several keys that vary together, in place of ``key``."""
    carry: Any = None
    """The value the next blocks go on with: one of ``values``; null: the base's."""

    def __post_init__(self) -> None:
        if (self.key is None) == (not self.keys):
            raise ConfigError(f"block `{self.name}`: give either `key` or `keys`", found=(self.key, *self.keys))
        if not self.values:
            raise ConfigError(f"block `{self.name}`: `values` is empty", expected="at least one value")
        for value in self.values:
            self.changes(value)
        if self.carry is not None and self.carry not in self.values:
            raise ConfigError(
                f"block `{self.name}`: `carry` is none of its values",
                found=self.carry,
                expected=list(self.values),
            )

    @property
    def factors(self) -> tuple[str, ...]:
        """The keys that vary."""
        return self.keys or (str(self.key),)

    def changes(self, value: Any) -> dict[str, Any]:
        """Recipe keys and what one of the values makes of them."""
        if not self.keys:
            return {str(self.key): value}
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(self.keys):
            raise ConfigError(
                f"block `{self.name}`: a value does not match `keys`",
                found=value,
                expected=f"a list of {len(self.keys)}: {', '.join(self.keys)}",
            )
        return dict(zip(self.keys, value, strict=True))


@dataclass(frozen=True)
class SweepFile:
    """A sweep as it is written down."""

    recipe: str
    """The recipe everything starts from: a name of the package's own, or a path (relative to this file)."""
    blocks: tuple[Block, ...]
    """The ablations, in order."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Recipe keys of the base that differ from the recipe: ``decoder.num_layers: 2``."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the weights and of dropout: every cell is trained once with each."""
    order_seed: int = 0
    """Seed of the sample order: the same for all, so that all see the same batches."""
    metrics: tuple[str, ...] = ()
    """Validation metrics of the table; none: what chooses the best checkpoint, and the loss."""

    def __post_init__(self) -> None:
        for name in ("blocks", "seeds"):
            given = [block.name for block in self.blocks] if name == "blocks" else list(self.seeds)
            if not given or len(set(given)) != len(given):
                raise ConfigError(
                    f"`{name}` is empty or names one twice", found=given, expected="one or more, each once"
                )
        if {"seed", "order_seed"} & {key for block in self.blocks for key in block.factors} | {"seed"} & set(
            self.changes
        ):
            raise ConfigError("seeds are no factor of a block", remedy="list them under `seeds`; see also `order_seed`")


@dataclass(frozen=True)
class SweepConfig:
    """One sweep.

    Args:
        source: where its file is, as messages name it.
        file: its content.
        store: the feature store to read.
        manifest: the data manifest.
        out: the sweep's folder; one run folder below it for each cell and seed.
        resume: go on with the sweep in ``out``.
        vectorise: train same-shaped heads as one; ``auto``: where that is faster, see :func:`~.stack.pays`.
        progress: progress bars on stderr.
    """

    source: str
    file: SweepFile
    store: Place
    manifest: str
    out: Path
    resume: bool = False
    vectorise: Literal["auto", "always", "never"] = "auto"
    progress: bool = True


def sweep_names() -> list[str]:
    """The sweeps that come with the package."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def load_sweep(
    name_or_path: str | Path, *, recipe: str | None = None, overrides: Sequence[str] = (), seeds: Sequence[int] = ()
) -> tuple[str, SweepFile]:
    """A sweep file by path, or by name if it comes with the package; and what messages call it.

    Args:
        name_or_path: which.
        recipe: another base recipe.
        overrides: ``key=value`` changes of the base.
        seeds: other seeds.

    Raises:
        ConfigError: there is none of that name, or a key or value cannot be meant; it names file and key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if str(name_or_path) not in sweep_names():
            raise ConfigError(
                f"there is no sweep {str(name_or_path)!r}",
                expected=sweep_names(),
                remedy="name one of these, or give the path of a .yaml file",
            )
        path = SWEEPS / f"{name_or_path}.yaml"
    data = load_yaml(path)
    data["changes"] = {**(data.get("changes") or {}), **dict(_override(text) for text in overrides)}
    data |= ({"recipe": recipe} if recipe else {}) | ({"seeds": list(seeds)} if seeds else {})
    file = _built(data, str(path))
    return str(path), file if recipe else _anchored(file, path.parent)


def _built(data: Mapping[str, Any], source: str) -> SweepFile:
    try:
        return build(SweepFile, data, source=source)
    except ConfigError as error:
        if error.problem.startswith(source):
            raise
        raise ConfigError(
            f"{source}: {error.problem}", found=error.found, expected=error.expected, remedy=error.remedy
        ) from None


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("an override cannot be read", found=text, expected="key=value or group.key=value")
    return key.strip(), parse_yaml(value, source=f"override {text}")


def _anchored(file: SweepFile, folder: Path) -> SweepFile:
    """The file with a recipe path that is relative to its own folder made whole."""
    recipe = Path(file.recipe)
    if recipe.suffix not in (".yaml", ".yml") or recipe.is_absolute():
        return file
    values = {name: getattr(file, name) for name in ("blocks", "changes", "seeds", "order_seed", "metrics")}
    return SweepFile(recipe=str(folder / recipe), **values)
