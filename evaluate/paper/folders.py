"""Which runs and sweeps some folders hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...pipeline.errors import ConfigError
from .evaluated import Evaluated
from .runs import PaperRun, read_run
from .sweeps import FILE as SWEEP
from .sweeps import PaperSweep, read_sweep


@dataclass(frozen=True)
class Found:
    """All runs of some folders, each once, and the sweeps among them."""

    runs: tuple[PaperRun, ...]
    sweeps: tuple[PaperSweep, ...] = ()


def gather(folders: Sequence[Path], evaluated: Mapping[Path, Evaluated] | None = None) -> Found:
    """Runs and sweeps: each folder is one of them, or holds some of them directly.

    Args:
        folders: where they are.
        evaluated: by resolved run folder, what is known of it beyond its own files.

    Raises:
        ConfigError: a folder without any, or a damaged ``run.json``.
        VisualThoughtError: a damaged log or ``sweep.json``.
    """
    if not folders:
        raise ConfigError("there is nothing to make a table of", expected="run folders or sweep folders")
    named = dict.fromkeys(place for folder in folders for place in _places(folder))
    sweeps = tuple(read_sweep(place) for place in named if (place / SWEEP).is_file())
    below = (run for sweep in sweeps for runs in sweep.runs.values() for run in runs)
    alone = (place for place in named if not (place / SWEEP).is_file())
    known = evaluated or {}
    return Found(tuple(read_run(place, known.get(place.resolve())) for place in _once((*below, *alone))), sweeps)


def _places(folder: Path) -> Iterator[Path]:
    if _holds(folder):
        yield folder
        return
    below = [place for place in sorted(folder.iterdir()) if _holds(place)] if folder.is_dir() else []
    if not below:
        raise ConfigError(
            f"{folder} holds no run" if folder.exists() else f"there is no folder {folder}",
            expected=f"a folder with run.json (of `vtt train`) or {SWEEP} (of `vtt sweep`), or one that holds some",
        )
    yield from below


def _holds(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (folder / SWEEP).is_file()


def _once(places: Iterable[Path]) -> list[Path]:
    return list({place.resolve(): place for place in places}.values())
