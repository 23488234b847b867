"""What a smaller storage tier costs: bytes, and how far the numbers move, measured on rows of the store itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8

from ..errors import StoreMismatch
from ..manifest import DatasetManifest
from ..spec import FeatureSpec, Tier, differences
from .codecs import compress, decompress
from .distortion import Distortion
from .fidelity_report import FeatureFidelity, Fidelity, TierFidelity
from .format import ArrayMeta
from .int8 import ChannelScale
from .reader import RowReader
from .sample import Drawn, Feature, draw, features_of, matched, read_rows, sample_scale
from .store import FeatureStore
from .tiers import SMALLER, from_float32, to_float32

SAMPLE_SEED = 20260521
LOSSLESS = "bitshuffle-zstd"
BLOCK_ROWS = 16  # rows in memory at a time


@dataclass(frozen=True)
class Contender:
    """A way to store numbers: what it gives back for some rows, and the bytes it took for them.

    Args:
        name: how it is called.
        through: (their row numbers, the rows as the store has them, the same as float32) -> (given back, bytes).
        scale: what the scale of int8 was measured on.
    """

    name: str
    through: Callable[
        [Int64[np.ndarray, " n"], Shaped[np.ndarray, " n *stored"], Float32[np.ndarray, " n *shape"]],
        tuple[Float32[np.ndarray, " n *shape"], int],
    ]
    scale: str | None = None


def measure_fidelity(
    path: Path,
    *,
    other: Path | None = None,
    manifest: DatasetManifest | None = None,
    rows: int = 512,
    seed: int = SAMPLE_SEED,
) -> Fidelity:
    """Compare each feature with what smaller tiers, or another store, give back for it.

    Args:
        path: the store whose numbers count as true.
        other: a store converted from it, compared row by row; None simulates every tier in memory.
        manifest: the rows compared are then of episodes that it does not train on, and the simulated scale of int8 is
            measured on rows of those that it does.
        rows: most rows of each feature.
        seed: of the draw.

    Raises:
        StoreError: a store that cannot be read, or numbers that a tier cannot hold.
        StoreMismatch: the other store has none of the features, or made them in another way.
        ManifestError: no row outside the training split, or none in it.
    """
    store = FeatureStore.open(path)
    features = features_of(store)
    others = None if other is None else _shared(features, features_of(FeatureStore.open(other)), other)
    measured = tuple(
        _measure(store, features[key], None if others is None else others[key], manifest, rows=rows, seed=seed)
        for key in (features if others is None else others)
    )
    told = "random rows" if manifest is None else f"random rows outside the training split of {manifest.name}"
    return Fidelity(path, other, told, measured)


def _measure(
    store: FeatureStore,
    feature: Feature,
    other: Feature | None,
    manifest: DatasetManifest | None,
    *,
    rows: int,
    seed: int,
) -> FeatureFidelity:
    if other is None:
        drawn = draw(store, feature, manifest, usable=feature.finished, count=rows, seed=seed)
        return _compare(feature, drawn.rows, _tiers(feature, drawn))
    match = matched(feature, other)
    drawn = draw(store, feature, manifest, usable=feature.finished & (match >= 0), count=rows, seed=seed)
    with other.open(match[drawn.rows]) as reader:
        return _compare(feature, drawn.rows, [_stored_there(other, match, reader)])


def through(x: Float32[np.ndarray, "*shape"], tier: Tier, scale: ChannelScale | None) -> Float32[np.ndarray, "*shape"]:
    """What a tier gives back for numbers. Raises StoreError if it cannot hold them."""
    return to_float32(from_float32(x, tier, scale), tier, scale)


def _tiers(feature: Feature, drawn: Drawn) -> list[Contender]:
    """The tiers smaller than the stored one, and the stored one compressed."""
    spec = feature.arrays[0].spec
    found = []
    for tier in SMALLER[spec.tier]:
        scale = sample_scale(feature, drawn.scale_rows, drawn.scale_told) if tier == "int8" else None
        found.append(_simulated(spec, tier, scale))
    if feature.arrays[0].meta.codec == "none":
        found.append(Contender(LOSSLESS, lambda _rows, stored, _x: _packed(stored, spec, feature.scale)))
    return found


def _simulated(spec: FeatureSpec, tier: Tier, scale: ChannelScale | None) -> Contender:
    row_bytes = replace(spec, tier=tier).row_bytes
    told = None if scale is None else scale.measured_on
    return Contender(tier, lambda _rows, _stored, x: (through(x, tier, scale), len(x) * row_bytes), told)


def _stored_there(other: Feature, match: Int64[np.ndarray, " n"], reader: RowReader) -> Contender:
    """The other store's own rows."""
    meta = other.arrays[0].meta

    def read(
        rows: Int64[np.ndarray, " n"], _stored: Shaped[np.ndarray, " n *stored"], _x: Float32[np.ndarray, " n *shape"]
    ) -> tuple[Float32[np.ndarray, " n *shape"], int]:
        stored = read_rows(reader, match[rows])
        return to_float32(stored, meta.spec.tier, other.scale), _bytes(stored, meta)

    return Contender(stored_name(meta), read, None if other.scale is None else other.scale.measured_on)


def _compare(feature: Feature, rows: Int64[np.ndarray, " n"], contenders: Sequence[Contender]) -> FeatureFidelity:
    meta, moved, sizes = feature.arrays[0].meta, [Distortion() for _ in contenders], [0] * len(contenders)
    stored_bytes = 0
    with feature.open(rows) as reader:
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            stored = read_rows(reader, block)
            x = to_float32(stored, meta.spec.tier, feature.scale)
            stored_bytes += _bytes(stored, meta)
            for number, contender in enumerate(contenders):
                y, size = contender.through(block, stored, x)
                moved[number].add(x, y)
                sizes[number] += size
    tiers = tuple(
        _found(contender, distortion, size / len(rows), stored_bytes / size)
        for contender, distortion, size in zip(contenders, moved, sizes, strict=True)
    )
    tokens = len(rows) * math.prod(meta.spec.shape[:-1])
    return FeatureFidelity(meta.spec.key, stored_name(meta), stored_bytes / len(rows), len(rows), tokens, tiers)


def stored_name(meta: ArrayMeta) -> str:
    """A tier and its codec in a word or two."""
    return meta.spec.tier if meta.codec == "none" else f"{meta.spec.tier} {meta.codec}"


def _found(contender: Contender, moved: Distortion, bytes_a_row: float, compression: float) -> TierFidelity:
    return TierFidelity(
        tier=contender.name,
        bytes_a_row=bytes_a_row,
        compression=compression,
        cosine_mean=moved.cosine_mean,
        cosine_worst=moved.cosine_worst,
        relative_error=moved.relative_error,
        token_error_worst=moved.token_error_worst,
        scale=contender.scale,
    )


def _bytes(stored: Shaped[np.ndarray, " n *stored"], meta: ArrayMeta) -> int:
    """Bytes of numbers that rows take in their store."""
    return stored.nbytes if meta.codec == "none" else sum(len(compress(row, meta.spec)) for row in _flat(stored))


def _packed(
    stored: Shaped[np.ndarray, " n *stored"], spec: FeatureSpec, scale: ChannelScale | None
) -> tuple[Float32[np.ndarray, " n *shape"], int]:
    """Rows after compression and back, and the bytes they took in between."""
    packed, back = [compress(row, spec) for row in _flat(stored)], np.empty_like(stored)
    for data, row in zip(packed, _flat(back), strict=True):
        decompress(data, row)
    return to_float32(back, spec.tier, scale), sum(map(len, packed))


def _flat(stored: Shaped[np.ndarray, " n *stored"]) -> UInt8[np.ndarray, "n bytes"]:
    return stored.reshape(len(stored), -1).view(np.uint8)


def _shared(features: Mapping[str, Feature], others: Mapping[str, Feature], other: Path) -> dict[str, Feature]:
    """The other store's features that are the store's own; StoreMismatch if there is none."""
    shared = {key: others[key] for key in features if key in others}
    if not shared:
        raise StoreMismatch(
            f"{other} has none of the features", found=list(others), expected=list(features), remedy="name its source"
        )
    for key, found in shared.items():
        a, b = (replace(one.arrays[0].spec, tier="fp32").to_json() for one in (found, features[key]))
        if a != b:
            raise StoreMismatch(f"{other} holds another feature under {key}", found=differences(a, b))
    return shared
