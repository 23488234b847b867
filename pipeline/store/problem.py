"""What is wrong with a store, and the verdict of looking for it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ..words import counted
from .layout import part_name
from .listing import readable_bytes

Kind = Literal["schema", "index", "metadata", "receipt", "part", "frames", "skipped", "snapshot", "stray"]

_MAX_RUNS = 6  # runs of frames named for one part


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Args:
        kind: which kind of file is wrong.
        path: the file, whether it is there or not.
        what: what is wrong with it.
        index_id: of the array.
        feature: the array's key.
        part: which part.
        rows: [start, stop) of the array's rows that are concerned.
        holds: which episodes and frames these rows are.
        remake: the command that makes them again; None if no receipt says so, or none is needed.
    """

    kind: Kind
    path: Path
    what: str
    index_id: str | None = None
    feature: str | None = None
    part: int | None = None
    rows: tuple[int, int] | None = None
    holds: str | None = None
    remake: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        return asdict(self) | {"path": str(self.path), "rows": None if self.rows is None else list(self.rows)}

    def render(self, root: Path) -> list[str]:
        """Lines for people; paths are relative to ``root``."""
        where = str(self.path.relative_to(root))
        subject = self.kind if self.part is None else f"part {part_name(self.part)}"
        if self.rows is not None:
            subject += f", {_said_rows(*self.rows)}"
        return [f"{subject}: {self.what}", f"  {where}", *([f"  {self.holds}"] if self.holds else [])]


@dataclass(frozen=True)
class Verdict:
    """What :func:`~.verify.verify` found.

    Args:
        path: the store.
        full: whether every byte was read, or only what describes the bytes.
        parts: finished parts that were looked at.
        rows: their rows.
        bytes: their bytes, as their receipts say.
        problems: everything that is wrong.
        notes: what is in order and still worth knowing: numbers that are not finite, arrays that wait for extraction.
    """

    path: Path
    full: bool
    parts: int
    rows: int
    bytes: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        said = {"path": str(self.path), "ok": self.ok, "full": self.full}
        counts = {"parts": self.parts, "rows": self.rows, "bytes": self.bytes}
        return said | counts | {"problems": [problem.to_json() for problem in self.problems], "notes": [*self.notes]}

    def render(self) -> str:
        """The verdict for people, every problem in it."""
        counts = f"{counted(self.parts, 'part')}, {counted(self.rows, 'row')}, {readable_bytes(self.bytes)}"
        how = "every byte read" if self.full else "sizes, receipts and indexes; --full reads every byte"
        state = "nothing wrong" if self.ok else counted(len(self.problems), "problem")
        lines = [f"{self.path}: {state} in {counts} ({how})", *(f"  note: {note}" for note in self.notes)]
        for group in _grouped(self.problems):
            lines += _rendered_group(group, self.path)
        if not self.ok:
            lines += [
                "",
                f"to do: vtt store repair {self.path}",
                *(f"       {line}" for line in commands_after(self.problems)),
            ]
        return "\n".join(lines)


def describe_rows(table: pa.Table, start: int, stop: int) -> str:
    """Which episodes and frames rows [start, stop) of an index are: ``lab/cubes, main: episode 1 frames 28–99``."""
    rows = table.slice(start, stop - start).select(["repo_id", "camera", "episode_index", "frame_index"]).to_pylist()
    frames: dict[tuple[str, str], dict[int, list[int]]] = {}
    for row in rows:
        episodes = frames.setdefault((row["repo_id"], row["camera"]), {})
        episodes.setdefault(row["episode_index"], []).append(row["frame_index"])
    runs = [
        f"{repo_id}, {camera}: " * (number == 0) + f"episode {episode} {_said_frames(found)}"
        for (repo_id, camera), episodes in frames.items()
        for number, (episode, found) in enumerate(episodes.items())
    ]
    more = len(runs) - _MAX_RUNS
    return ", ".join(runs[:_MAX_RUNS]) + (f" and {counted(more, 'more episode')}" if more > 0 else "")


def _said_frames(found: list[int]) -> str:
    low, high = min(found), max(found)
    return f"frame {low}" if low == high else f"frames {low}–{high}"


def _said_rows(start: int, stop: int) -> str:
    return f"row {start}" if stop - start == 1 else f"rows {start}–{stop - 1}"


def _grouped(problems: Iterable[Problem]) -> list[list[Problem]]:
    groups: dict[tuple[str | None, str | None], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.feature, problem.index_id), []).append(problem)
    return list(groups.values())


def _rendered_group(group: list[Problem], root: Path) -> list[str]:
    first = group[0]
    name = first.feature or ("rows" if first.index_id else "the store itself")
    title = f"{name} (index {first.index_id})" if first.index_id else name
    lines = ["", f"{title}: {counted(len(group), 'problem')}"]
    lines += [f"  {line}" for problem in group for line in problem.render(root)]
    return lines + [f"  made again by: {command}" for command in _commands(group)]


def _commands(problems: Iterable[Problem]) -> list[str]:
    return list(dict.fromkeys(problem.remake for problem in problems if problem.remake))


def commands_after(problems: Iterable[Problem]) -> list[str]:
    """What to run after a repair, so that everything that left is made again."""
    lost = [
        problem for problem in problems if problem.feature is not None and problem.kind not in ("stray", "snapshot")
    ]
    lines = _commands(lost)
    if any(problem.remake is None for problem in lost):
        lines.append("and the `vtt extract` that made the rest: no receipt says with which options")
    return lines
