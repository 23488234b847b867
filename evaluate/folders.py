"""Folders that hold runs where a run is meant."""

from pathlib import Path

from ..pipeline.errors import ConfigError

NAMED = 4
"""Runs that the remedy names."""


def refuse_folder_of_runs(folder: Path) -> None:
    """ConfigError, naming the runs, for a folder that is no run but holds some, such as a sweep."""
    if any((folder / name).exists() for name in ("run.json", "config.json")):
        return
    below = sorted({path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/run.json")})
    if not below:
        return
    kind = "a sweep" if (folder / "sweep.json").is_file() else "a folder of runs"
    named = " ".join(map(str, below[:NAMED])) + (" …" if len(below) > NAMED else "")
    raise ConfigError(
        f"{folder} holds no run: it is {kind}",
        found=f"{len(below)} runs below it",
        expected="run folders",
        remedy=f"`vtt eval {named}` to judge some of them, or `vtt tables {folder}` for the tables of all",
    )
