"""Starting a run folder, or continuing the one that is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..pipeline.errors import ConfigError
from ..pipeline.record import RunRecord, read_record, write_record
from ..pipeline.spec import differences
from . import checkpoint
from .config import TrainConfig
from .state import Racer

MAY_CHANGE = ("store", "out", "resume", "loader", "device", "log_freq", "tensorboard", "progress", "keep_last")
"""Config keys that a resumed run may be given anew: they change no number but by rounding."""


def earlier_run(config: TrainConfig) -> RunRecord | None:
    """The record of the run to resume; None for a new run; ConfigError if ``out`` is taken."""
    if config.resume and (config.out / "run.json").exists():
        return read_record(config.out / "run.json")
    if config.out.exists() and (not config.out.is_dir() or any(map(_is_kept, config.out.iterdir()))):
        holds = "a run" if (config.out / "run.json").exists() else "other files"
        raise ConfigError(
            f"the run folder {config.out} is taken",
            found=holds,
            expected="a new or empty folder",
            remedy="continue that run with --resume, or choose another --out",
        )
    return None


def _is_kept(path: Path) -> bool:
    """Whether a name in a run folder is somebody's, and not what was left by a death before the first file."""
    return not path.name.startswith(".run.json.")


def begin(
    config: TrainConfig, record: RunRecord, earlier: RunRecord | None, racers: tuple[Racer, ...]
) -> tuple[int, list[str]]:
    """The step to start from, with weights in place, and what there is to say about it."""
    if earlier is None:
        write_record(config.out / "run.json", record)
        return 0, []
    _refuse_other_config(earlier, record)
    last, notes = checkpoint.newest_valid(config.out)
    if last is None:
        return 0, [*notes, "no checkpoint can be used: starting from the first step"]
    models = {racer.contender.name: racer.contender.model for racer in racers}
    best = checkpoint.restore(last, models, {racer.contender.name: racer.optimizer for racer in racers})
    for racer in racers:
        racer.best = best.get(racer.contender.name)
    checkpoint.relink(config.out, last, best)
    return int(last.name), [*notes, f"resumed from step {int(last.name)}"] if notes else []


def _drawn(loader: Mapping[str, Any]) -> dict[str, Any]:
    """What of the loader's config decides which samples a step sees."""
    shuffle = loader.get("shuffle", "full")
    return {"shuffle": shuffle} | ({"window_parts": loader["window_parts"]} if shuffle == "window" else {})


def _refuse_other_config(earlier: RunRecord, record: RunRecord) -> None:
    before, now = ({k: v for k, v in r.config.items() if k not in MAY_CHANGE} for r in (earlier, record))
    changed = differences(now, before)
    drawn, draws = (_drawn(r.config["loader"]) for r in (earlier, record))
    changed += differences(draws, drawn, "loader.")
    if earlier.splits != record.splits:
        changed.append("splits: the examples are others than when the run started")
    if changed:
        raise ConfigError(
            "the run to resume has another config",
            found=changed,
            expected="the config it was started with",
            remedy="repeat its command with --resume, or start a new run with another --out",
        )
