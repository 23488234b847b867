"""What a parity check found, as data and as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tolerance import Tolerance


@dataclass(frozen=True)
class FeatureParity:
    """One feature's stored rows beside the same rows made now.

    Args:
        name: the run's name of it.
        key: the store's.
        dtype: compute type.
        tier: storage tier.
        rows: rows compared.
        equal: of them, those that are equal bit for bit.
        cosine: the worst cosine of a token with itself.
        absolute: the largest difference of two numbers; in int8, from what rounds to the stored one.
        relative: the largest difference as a share of the largest number of its token.
        tolerance: for ``cosine`` and ``relative``.
        worst: the row that is furthest off.
    """

    name: str
    key: str
    dtype: str
    tier: str
    rows: int
    equal: int
    cosine: float
    absolute: float
    relative: float
    tolerance: Tolerance
    worst: str

    @property
    def holds(self) -> bool:
        """Whether the feature is within tolerance."""
        return self.cosine >= self.tolerance.cosine and self.relative <= self.tolerance.absolute


@dataclass(frozen=True)
class Parity:
    """What :func:`parity` found.

    Args:
        run: the run folder.
        seed: of the draw.
        examples: examples drawn.
        split: of which split.
        simulated: whether their frames are.
        device: where the backbone ran.
        features: feature by feature.
        best_by: the metric by which the run chose its best checkpoint.
        stored: the task's metrics over the drawn examples, the head reading the store's rows.
        live: the same, reading the rows made now.
    """

    run: Path
    seed: int
    examples: int
    split: str
    simulated: bool
    device: str
    features: tuple[FeatureParity, ...]
    best_by: str
    stored: Mapping[str, float]
    live: Mapping[str, float]

    @property
    def holds(self) -> bool:
        """Whether every feature is within its tolerance."""
        return all(feature.holds for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        features = {
            one.name: {**vars(one), "tolerance": one.tolerance.to_json(), "holds": one.holds} for one in self.features
        }
        return {**vars(self), "run": str(self.run), "features": features, "holds": self.holds}

    def render(self) -> str:
        """A table for people."""
        of = f"{self.examples} examples of {self.split}{' (SIMULATED)' if self.simulated else ''}"
        title = f"{self.run.resolve().name}: {of}, the backbone live on {self.device}"
        head = f"  {'feature':<12}{'compute':<9}{'stored':<8}{'worst cosine':<24}{'worst |Δ|':<12}"
        head += f"{'of its token':<22}equal"
        before, after = self.stored[self.best_by], self.live[self.best_by]
        change = f"  {self.best_by} of the head on these: {before:.4f} from the store, {after:.4f} live"
        verdict = "  within tolerance" if self.holds else "  OUTSIDE tolerance: " + "; ".join(self._faults())
        lines = [_line(feature) for feature in self.features]
        return "\n".join([title, head, *lines, f"{change}, change {after - before:+.4f}", verdict])

    def _faults(self) -> list[str]:
        return [f"{one.name}, furthest off in {one.worst}" for one in self.features if not one.holds]


def _line(one: FeatureParity) -> str:
    cosine = f"{one.cosine:.7f} (≥ {one.tolerance.cosine:.5f})"
    share = f"{one.relative:.5f} (≤ {one.tolerance.absolute:.4f})"
    start = f"  {one.key:<12}{one.dtype:<9}{one.tier:<8}{cosine:<24}{one.absolute:<12.3g}"
    return f"{start}{share:<22}{one.equal} of {one.rows}"
