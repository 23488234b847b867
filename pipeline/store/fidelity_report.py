"""What a measurement of storage tiers found, for people and for scripts."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TierFidelity:
    """One tier of one feature.

    Args:
        tier: ``bf16``, ``int8`` …, ``bitshuffle-zstd`` for the stored tier compressed, or how the other store has it.
        bytes_a_row: of numbers, on average; checksums and indexes of rows are not counted.
        compression: the stored bytes a row over these.
        cosine_mean, cosine_worst: over tokens.
        relative_error: over all numbers of the sample.
        token_error_worst: of the token that moved most, relative to its size.
        scale: what the scale of int8 was measured on.
    """

    tier: str
    bytes_a_row: float
    compression: float
    cosine_mean: float
    cosine_worst: float
    relative_error: float
    token_error_worst: float
    scale: str | None = None


@dataclass(frozen=True)
class FeatureFidelity:
    """One feature: how it is stored, and the tiers it was compared with on ``rows`` rows, ``tokens`` tokens in all."""

    key: str
    stored: str
    bytes_a_row: float
    rows: int
    tokens: int
    tiers: tuple[TierFidelity, ...]


@dataclass(frozen=True)
class Fidelity:
    """A store's features in smaller tiers, or beside another store's."""

    store: Path
    other: Path | None
    sampled_from: str
    features: tuple[FeatureFidelity, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; an infinite error is None."""
        data = asdict(self) | {"store": str(self.store), "other": None if self.other is None else str(self.other)}
        for feature in data["features"]:
            for tier in feature["tiers"]:
                tier.update({name: None for name, value in tier.items() if value == math.inf})
        return data

    def render(self) -> str:
        """A table for people."""
        beside = "" if self.other is None else f" beside {self.other}"
        cells = [["feature", "tier", "bytes/row", "smaller", "cosine", "worst", "rel. error", "worst token"]]
        cells += [row for feature in self.features for row in _cells(feature)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                [*map(str.ljust, row[:2], widths[:2]), *map(str.rjust, row[2:], widths[2:])],
            ).rstrip()
            for row in cells
        ]
        scales = {f"{f.key}: int8 scale of {tier.scale}": None for f in self.features for tier in f.tiers if tier.scale}
        return "\n".join([f"{self.store}{beside}: {self.sampled_from}", *lines, *scales])


def _cells(feature: FeatureFidelity) -> Iterator[list[str]]:
    """One row a tier, the stored one first."""
    yield [feature.key, f"{feature.stored} (stored)", f"{feature.bytes_a_row:.0f}", "1.00x", *["" for _ in range(4)]]
    for tier in feature.tiers:
        sizes = [f"{tier.bytes_a_row:.0f}", f"{tier.compression:.2f}x"]
        cosines = [f"{tier.cosine_mean:.6f}", f"{tier.cosine_worst:.6f}"]
        yield ["", tier.tier, *sizes, *cosines, _share(tier.relative_error), _share(tier.token_error_worst)]


def _share(value: float) -> str:
    return "0" if value == 0 else f"{value:.3%}"
