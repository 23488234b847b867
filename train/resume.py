"""Starting a run folder, or continuing the one that is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..pipeline.config import build, to_plain
from ..pipeline.errors import ConfigError
from ..pipeline.record import RunRecord, read_record, write_record
from ..pipeline.spec import differences
from . import checkpoint
from .config import TrainConfig
from .processes import ALONE, Team
from .state import Racer, averages_of, models_of, optimizers_of

MAY_CHANGE = (
    *("store", "out", "resume", "loader", "log_freq", "tensorboard", "wandb", "progress", "keep_last", "early_stop"),
    *("device", "compile", "accumulate"),
)
"""Config keys that a resumed run may be given anew: they change no sample. The last three, as the number of processes
does, change numbers by rounding, and which of them dropout leaves out."""


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
    config: TrainConfig,
    record: RunRecord,
    earlier: RunRecord | None,
    racers: tuple[Racer, ...],
    team: Team = ALONE,
) -> tuple[int, list[str]]:
    """The step to start from, with weights in place in every process, and what there is to say about it."""
    if earlier is None:
        if team.main:
            config.out.mkdir(parents=True, exist_ok=True)
            write_record(config.out / "run.json", record)
        return 0, []
    _refuse_other_config(earlier, record)
    last, notes = team.share(checkpoint.newest_valid(config.out))
    if last is None:
        return 0, [*notes, "no checkpoint can be used: starting from the first step"]
    best = checkpoint.restore(last, models_of(racers), optimizers_of(racers), averages_of(racers))
    for racer in racers:
        racer.best = best.get(racer.contender.name)
    if team.main:
        checkpoint.relink(config.out, last, best)
    return int(last.name), [*notes, f"resumed from step {int(last.name)}"] if notes else []


def _drawn(loader: Mapping[str, Any]) -> dict[str, Any]:
    """What of the loader's config decides which samples a step sees."""
    shuffle = loader.get("shuffle", "full")
    return {"shuffle": shuffle} | ({"window_parts": loader["window_parts"]} if shuffle == "window" else {})


def _refuse_other_config(earlier: RunRecord, record: RunRecord) -> None:
    was = to_plain(build(TrainConfig, earlier.config, source="run.json"))  # keys that are newer than the run: defaults
    before, now = ({k: v for k, v in config.items() if k not in MAY_CHANGE} for config in (was, record.config))
    changed = differences(now, before)
    drawn, draws = (_drawn(config["loader"]) for config in (was, record.config))
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
