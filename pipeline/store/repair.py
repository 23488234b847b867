"""Repair: take out what is damaged, so that an extraction can put it in again. Nothing is deleted."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..words import counted
from .collect import finish_interrupted
from .commit import commit_file, make_folders, move_file
from .files import refuse_links
from .format import SUFFIXES, load_format
from .layout import Layout, part_name
from .problem import Problem, commands_after
from .schema import SCHEMA_TEXT
from .snapshot import read_snapshot, snapshot_file, snapshot_numbers
from .survey import Slot, survey
from .verify import verify

_OF_A_PART = ("receipt", "part", "frames")
_NAMES_IT = "snapshot: it names a part that is damaged"


@dataclass(frozen=True)
class Move:
    """A file that was taken out.

    Args:
        source: where it was.
        target: where it is now.
        why: what is wrong with it, or with what it belongs to.
    """

    source: Path
    target: Path
    why: str


@dataclass(frozen=True)
class Repaired:
    """What :func:`repair` did.

    Args:
        path: the store.
        dry_run: whether it only looked.
        problems: what was wrong.
        moves: files taken out (in a dry run: that would be), in order.
        left: what is still wrong.
    """

    path: Path
    dry_run: bool
    problems: tuple[Problem, ...]
    moves: tuple[Move, ...]
    left: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more; a dry run changes nothing, so for it: whether nothing was."""
        return not (self.problems if self.dry_run else self.left)

    @property
    def remake(self) -> tuple[str, ...]:
        """The commands that make again what was taken out, as far as receipts say."""
        return tuple(dict.fromkeys(problem.remake for problem in self.problems if problem.remake))

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        moves = [{"source": str(m.source), "target": str(m.target), "why": m.why} for m in self.moves]
        problems, left = ([one.to_json() for one in found] for found in (self.problems, self.left))
        said = {"path": str(self.path), "ok": self.ok, "dry_run": self.dry_run}
        return said | {"moved": moves, "remake": [*self.remake], "problems": problems, "left": left}

    def render(self) -> str:
        """The same for people."""
        if not self.problems:
            return f"{self.path}: nothing wrong, nothing to repair"
        verb = "would go" if self.dry_run else "went"
        problems, files = counted(len(self.problems), "problem"), counted(len(self.moves), "file")
        lines = [f"{self.path}: {problems}, {files} {verb} to {self.path / 'quarantine'}"]
        for why in dict.fromkeys(move.why for move in self.moves):
            lines.append(f"  {why}")
            lines += [f"    {move.source.relative_to(self.path)}" for move in self.moves if move.why == why]
        if not self.dry_run:
            lines += [f"still wrong: {problem.what} ({problem.path})" for problem in self.left]
        return "\n".join([*lines, *self._next()])

    def _next(self) -> list[str]:
        if self.dry_run:
            return [f"nothing was changed; to do: vtt store repair {self.path}"]
        commands = commands_after(self.problems)
        return ["to make again what is missing:", *(f"  {command}" for command in commands)] if commands else []


def repair(path: str | Path, *, full: bool = True, dry_run: bool = False, progress: bool = False) -> Repaired:
    """Move what :func:`~.verify.verify` finds damaged into ``quarantine/``.

    Receipts leave first, so that a part is gone before its file is; then the part's file and its table of frames. An
    index leaves with the metadata of the arrays on it, a snapshot when what it names is no longer there. Metadata and
    claims are the same text whenever they are written: the next extraction writes them again and finds its receipts.

    Args:
        path: the store.
        full: read every byte before.
        dry_run: only say what would be done.
        progress: show a bar on stderr.

    Raises:
        StoreError: the folder is no feature store, or of a newer release.
        MachineError: it cannot be written.
    """
    layout = Layout(Path(path))
    if not dry_run:
        finish_interrupted(layout)
    verdict = verify(path, full=full, progress=progress)
    moves = _planned(layout, verdict.problems)
    if dry_run:
        return Repaired(layout.root, True, verdict.problems, tuple(moves), verdict.problems)
    done = [carried for move in moves for carried in _carry_out(layout, move)]
    _write_again(layout, verdict.problems)
    left = verify(path).problems if verdict.problems else ()
    return Repaired(layout.root, False, verdict.problems, tuple(done), left)


def _planned(layout: Layout, problems: Sequence[Problem]) -> list[Move]:
    """Which files go where: every receipt before anything else, and nothing that lies behind a link."""
    slots = {(slot.index_id, slot.key): slot for slot in survey(layout)}
    wanted = [(*pair, _why(problem)) for problem in problems for pair in _files_of(layout, problem, slots)]
    gone = {(problem.index_id, problem.feature, problem.part) for problem in problems if problem.kind in _OF_A_PART}
    wanted += [(path, layout.quarantine / "snapshots", _NAMES_IT) for path in _broken_snapshots(layout, gone)]
    wanted.sort(key=lambda one: layout.receipts not in one[0].parents or one[0].suffix != ".json")
    moves: dict[Path, Move] = {}
    for path, folder, why in wanted:
        if path not in moves and os.path.lexists(path) and not _behind_a_link(layout, path):
            taken = {move.target for move in moves.values()}
            moves[path] = Move(path, _free_name(folder / path.name, taken), why)
    return list(moves.values())


def _files_of(layout: Layout, problem: Problem, slots: Mapping[tuple[str, str], Slot]) -> Iterator[tuple[Path, Path]]:
    """(file, folder in quarantine) of everything that leaves because of one problem."""
    index_id, key, part = problem.index_id, problem.feature, problem.part
    if index_id and key and part is not None and problem.kind in _OF_A_PART:
        folder, file = layout.quarantine_dir(index_id, key), slots[index_id, key].part_file(part)
        files = (layout.receipt_file(index_id, key, part), file, layout.frames_file(index_id, key, part))
        yield from ((path, folder) for path in files if path is not None)
    elif problem.kind == "index" and index_id:
        yield problem.path, layout.quarantine / "indexes"
        for (index, feature), form in itertools.product(slots, map(load_format, SUFFIXES.values())):
            if index == index_id:
                path = layout.array_dir(index_id, feature, form.suffix) / form.metadata_name
                yield path, layout.quarantine_dir(index_id, feature)
    elif problem.kind == "skipped":
        yield problem.path, layout.quarantine / "skipped"
    elif problem.kind == "snapshot":
        yield problem.path, layout.quarantine / "snapshots"
    elif index_id and key:
        yield problem.path, layout.quarantine_dir(index_id, key)
    else:
        yield problem.path, layout.quarantine / "other"


def _broken_snapshots(layout: Layout, gone: Set[tuple[str | None, str | None, int | None]]) -> Iterator[Path]:
    """Snapshots that name a part which is about to leave; a damaged one is a problem of its own."""
    for number in snapshot_numbers(layout) if gone else []:
        with suppress(StoreError):
            if any(
                (index_id, key, sealed.part) in gone for index_id, key, sealed in read_snapshot(layout, number).parts()
            ):
                yield snapshot_file(layout, number)


def _behind_a_link(layout: Layout, path: Path) -> bool:
    try:
        refuse_links(layout.root, path.parent)
    except StoreError:
        return True
    return False


def _why(problem: Problem) -> str:
    name = problem.feature or problem.kind
    return (
        f"{name}: {problem.what}" if problem.part is None else f"{name}, part {part_name(problem.part)}: {problem.what}"
    )


def _free_name(target: Path, taken: Set[Path]) -> Path:
    """The name itself, or with the first number behind it that is free."""
    names = itertools.chain([target], (target.with_name(f"{target.name}.{number}") for number in itertools.count(1)))
    return next(name for name in names if name not in taken and not os.path.lexists(name))


def _carry_out(layout: Layout, move: Move) -> Iterator[Move]:
    """Move one file; nothing if somebody else took it."""
    make_folders(layout.root, move.target.parent)
    target = move.target
    while True:
        try:
            move_file(move.source, target)
        except FileExistsError:
            target = _free_name(move.target, set())
            continue
        except FileNotFoundError:
            return
        yield Move(move.source, target, move.why)
        return


def _write_again(layout: Layout, problems: Sequence[Problem]) -> None:
    """What is the same in every store, and a trace of metadata that was lost, so that its absence is known."""
    if any(problem.kind == "schema" for problem in problems):
        commit_file(layout.schema_file, SCHEMA_TEXT.encode())
    touched = {(problem.index_id, problem.feature) for problem in problems if problem.kind == "metadata"}
    for slot in survey(layout) if touched else []:
        if (slot.index_id, slot.key) not in touched:
            continue
        if slot.array is not None:
            commit_file(layout.claim_file(slot.index_id, slot.key), f"{slot.array.path.name}\n".encode())
        elif slot.receipts and not slot.waiting:
            folder = layout.quarantine_dir(slot.index_id, slot.key)
            make_folders(layout.root, folder)
            commit_file(folder / f"{slot.format.metadata_name}.missing", b"")
