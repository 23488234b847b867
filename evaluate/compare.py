"""Two runs on the same episodes: how much better is the second, and could the draw of episodes explain it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..pipeline.errors import ConfigError, StoreIncomplete
from ..pipeline.metrics.bootstrap import FEW_EPISODES, Difference, paired_bootstrap
from ..pipeline.record import read_record
from .across import Comparison
from .report import RunReport
from .tallies import COMPARED

SEED = 20260521
DRAWN = (
    "the intervals say which episodes happened to be drawn, not which seeds the runs were trained with: the same two "
    "recipes with other seeds may differ by more; train several seeds of each before calling one better"
)


def compare(first: RunReport, second: RunReport) -> Comparison:
    """Paired bootstrap over episodes of every metric of the task.

    Raises:
        ConfigError: runs of different tasks.
        StoreIncomplete: the two were not judged on the same rows.
    """
    _refuse_other_task([(run.run, run.task) for run in (first, second)])
    if first.examples_sha256 != second.examples_sha256:
        raise StoreIncomplete(
            f"{first.run} and {second.run} were not judged on the same rows",
            found=[f"{run.run}: {run.head.scores.rows} rows of {run.dataset}" for run in (first, second)],
            expected="the same rows of the same labels",
            remedy="give both the same --manifest, and extract what one of the stores lacks",
        )
    before, after = first.head.sums, second.head.sums
    assert before is not None, "every task tallies its head"
    assert after is not None, "every task tallies its head"
    differences = {
        metric.name: paired_bootstrap(before, after, metric.of, seed=SEED) for metric in COMPARED[first.task]
    }
    notes = tuple(_notes(first, second, differences, len(before.episodes)))
    return Comparison(first.run, second.run, first.split, len(before.episodes), differences, notes)


def refuse_incomparable(runs: Sequence[Path]) -> None:
    """Before anything is computed: ConfigError unless these are two runs of one task."""
    if len(runs) != 2:
        raise ConfigError("a comparison takes two runs", found=f"{len(runs)} runs", remedy="vtt eval A B --compare")
    _refuse_other_task([(str(run), read_record(_record_of(run)).task) for run in runs])


def _notes(first: RunReport, second: RunReport, differences: Mapping[str, Difference], episodes: int) -> Iterator[str]:
    yield DRAWN
    if first.recipe == second.recipe and first.seed != second.seed:
        yield (
            f"{first.run} and {second.run} are one recipe and differ in their seed alone: "
            "a clear difference (*) is the noise of seeds, not a better recipe"
        )
    starred = sum(found.clear for found in differences.values())
    yield (
        f"{starred} of {len(differences)} differences are clear (*), each at 95% on its own, not corrected for reading "
        f"{len(differences)} side by side"
    )
    if episodes < FEW_EPISODES:
        yield f"only {episodes} episodes: these intervals are too narrow"


def _record_of(run: Path) -> Path:
    return run / "config.json" if (run / "config.json").exists() else run / "run.json"


def _refuse_other_task(runs: Sequence[tuple[str, str]]) -> None:
    if len({task for _, task in runs}) > 1:
        raise ConfigError(
            "runs of different tasks cannot be compared",
            found=[f"{run}: {task}" for run, task in runs],
            expected="two runs of one task",
            remedy="leave out --compare to have them judged one beside the other",
        )
