"""What a smaller storage tier costs a trained head: its validation metric when it reads the numbers of that tier."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int

from ..pipeline.errors import StoreIncomplete
from ..pipeline.manifest import DatasetManifest
from ..pipeline.spec import Tier
from ..pipeline.store.fidelity import SAMPLE_SEED, through
from ..pipeline.store.int8 import ChannelScale
from ..pipeline.store.reader import RowReader
from ..pipeline.store.sample import SCALE_ROWS, measured_scale
from ..pipeline.store.tiers import SMALLER, to_float32
from ..train.loader import Loader
from ..train.run import pick_device
from ..train.sampling import EVALUATION_SEED, InOrder
from ..train.sources import DiskSource, Source
from .config import EvalConfig
from .subject import Subject, open_subject

SPLIT: Literal["val"] = "val"
"""The split on which the run chose its best checkpoint; the test split stays unseen while a tier is chosen."""


@dataclass(frozen=True)
class JudgedTier:
    """The head's metric when every feature it reads is in this tier, and the change from the stored numbers."""

    tier: str
    value: float
    change: float


@dataclass(frozen=True)
class RunFidelity:
    """One run's head on the stored numbers and on each smaller tier.

    Args:
        run: the run folder.
        metric: the task's own, by which the run chose its best checkpoint.
        examples: validation examples.
        stored: each feature's tier in the store.
        value: the metric on the stored numbers.
        tiers: the metric on others.
        manifest: the manifest whose splits were used.
    """

    run: Path
    metric: str
    examples: int
    stored: Mapping[str, str]
    value: float
    tiers: tuple[JudgedTier, ...]
    manifest: DatasetManifest

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; of the manifest, its name."""
        return asdict(replace(self, tiers=())) | {
            "run": str(self.run),
            "manifest": self.manifest.name,
            "tiers": [asdict(tier) for tier in self.tiers],
        }

    def render(self) -> str:
        """A table for people."""
        width = max(len(name) for name in ("as stored", *(tier.tier for tier in self.tiers)))
        lines = [f"{self.run.resolve().name}: {self.metric} of the head on {SPLIT}, {self.examples} examples"]
        lines.append(f"  {'as stored':<{width}}  {self.value:.4f}           ({_told(self.stored)})")
        lines += [f"  {tier.tier:<{width}}  {tier.value:.4f}  {tier.change:+.4f}" for tier in self.tiers]
        return "\n".join(lines)


class TierSource:
    """Another source's rows after a tier: encoded and decoded in memory, given as float32.

    Args:
        source: where the stored rows are read.
        tier: the tier they go through.
        scale: for int8.
    """

    def __init__(self, source: Source, tier: Tier, scale: ChannelScale | None) -> None:
        self.spec = replace(source.spec, tier="fp32")
        self.channel_scale: ChannelScale | None = None
        self._source, self._tier, self._scale = source, tier, scale
        self._dtype = {"bf16": np.uint16, "fp32": np.float32, "int8": np.int8}[source.spec.tier]

    def fill(self, rows: Int[np.ndarray, " n"], out: Float32[np.ndarray, " n *shape"]) -> None:
        """Read rows and put them through the tier. Raises the store's errors."""
        stored = np.empty((len(rows), *self._source.spec.stored_shape), self._dtype)
        self._source.fill(rows, stored)
        x = to_float32(stored, self._source.spec.tier, self._source.channel_scale)
        out[:] = through(x, self._tier, self._scale)

    def read_ahead(self, rows: Int[np.ndarray, " n"]) -> None:
        """Let the other source prepare."""
        self._source.read_ahead(rows)


def judge_tiers(
    run: Path, store: Path, *, other: Path | None = None, manifest: str | None = None, device: str = "auto"
) -> RunFidelity:
    """A run's head on the stored numbers, and on every smaller tier or on another store's numbers.

    Args:
        run: the run folder; its best checkpoint is judged.
        store: the store whose numbers are the measure.
        other: a store converted from it; None simulates every smaller tier in memory.
        manifest: a name or a path; None is the manifest the run was trained with.
        device: as for an evaluation.

    Raises:
        ConfigError, WeightsError: no such run, or one that cannot be judged.
        StoreError: rows that are missing or damaged; StoreMismatch if features are not the run's.
        ManifestError: an empty split.
    """
    config = EvalConfig(runs=(run,), out=run, split=SPLIT, store=store, manifest=manifest, device=device)
    with open_subject(config, run) as subject:
        stored: dict[str, Source] = {name: DiskSource(reader) for name, reader in subject.inputs.readers.items()}
        value = head_metric(subject, stored, device)
        with _contenders(config, run, subject, stored, other) as contenders:
            found = {name: head_metric(judged, sources, device) for name, (judged, sources) in contenders.items()}
        return RunFidelity(
            run=run,
            metric=subject.task.best_by,
            examples=len(subject.splits[SPLIT]),
            stored={name: source.spec.tier for name, source in stored.items()},
            value=value,
            tiers=tuple(JudgedTier(name, judged, judged - value) for name, judged in found.items()),
            manifest=subject.inputs.manifest,
        )


def head_metric(subject: Subject, sources: Mapping[str, Source], device: str) -> float:
    """The metric by which the run chose its best checkpoint, of its head, on the validation split."""
    numbers, size = subject.splits[SPLIT], subject.loaded.config.eval_batch_size
    plan, fields = InOrder(numbers, size), subject.task.fields(subject.examples, EVALUATION_SEED)
    own = {name: field for name, field in fields.items() if name in sources}
    targets, head = subject.examples.targets, subject.loaded.head
    loader = Loader(
        sources, own, targets, plan, range(len(plan)), batch_size=size, threads=1, device=pick_device(device)
    )
    with loader, torch.inference_mode():
        seen = [subject.task.observe(head.model, loaded.batch).arrays for loaded in loader]
    joined = {name: np.concatenate([arrays[name] for arrays in seen]) for name in seen[0]}
    return subject.task.metrics(joined)[subject.task.best_by]


@contextmanager
def _contenders(
    config: EvalConfig, run: Path, subject: Subject, stored: Mapping[str, Source], other: Path | None
) -> Iterator[dict[str, tuple[Subject, Mapping[str, Source]]]]:
    """What the head reads instead, by name."""
    if other is None:
        yield {tier: (subject, _in_tier(subject, stored, tier)) for tier in _tiers_below(stored)}
        return
    with open_subject(replace(config, store=other), run) as second:
        if not second.examples.table.equals(subject.examples.table):
            raise StoreIncomplete(
                f"{other} has rows for other examples than {config.store}",
                found=f"{len(second.examples.table)} examples",
                expected=f"the same {len(subject.examples.table)}",
                remedy="finish the conversion",
            )
        sources: dict[str, Source] = {name: DiskSource(reader) for name, reader in second.inputs.readers.items()}
        yield {_told({name: source.spec.tier for name, source in sources.items()}): (second, sources)}


def _told(tiers: Mapping[str, str]) -> str:
    """``int8`` if every feature is in it, else ``r bf16, z int8``."""
    same = set(tiers.values())
    return same.pop() if len(same) == 1 else ", ".join(f"{name} {tiers[name]}" for name in sorted(tiers))


def _tiers_below(stored: Mapping[str, Source]) -> list[Tier]:
    below = {tier for source in stored.values() for tier in SMALLER[source.spec.tier]}
    return [tier for tier in SMALLER["fp32"] if tier in below]


def _in_tier(subject: Subject, stored: Mapping[str, Source], tier: Tier) -> dict[str, Source]:
    """Every feature in a tier; what is stored in that or a smaller one stays as it is."""
    sources: dict[str, Source] = {}
    for name, source in stored.items():
        if tier not in SMALLER[source.spec.tier]:
            sources[name] = source
            continue
        scale = _scale(subject, name, subject.inputs.readers[name]) if tier == "int8" else None
        sources[name] = TierSource(source, tier, scale)
    return sources


def _scale(subject: Subject, name: str, reader: RowReader) -> ChannelScale:
    """The scale of a feature's channels over some of the run's training rows."""
    rows = np.unique(subject.examples.rows[name][subject.splits["train"]])
    chosen = np.sort(np.random.default_rng(SAMPLE_SEED).permutation(rows)[:SCALE_ROWS])
    return measured_scale(reader, chosen, f"{len(chosen)} training rows of the run")
