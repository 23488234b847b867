"""Rows that are NaN or infinite: nobody trains on them, and nobody leaves them out without saying so."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int, Shaped

from ..pipeline.errors import StoreCorrupt
from ..pipeline.manifest import episode_ranges
from ..pipeline.spec import FeatureSpec
from ..pipeline.store.int8 import token_scales
from ..pipeline.store.reader import RowReader

READ_ROWS = 128
BF16_EXPONENT = np.uint16(0x7F80)
"""The exponent's bits; all of them are ones in NaN and the infinities alone."""


def finite_rows(reader: RowReader, index: pa.Table, *, allow_nan: bool) -> pa.Table:
    """A feature's readable rows without those that are not finite. Only parts whose receipts count some are read.

    Args:
        reader: of the feature.
        index: its readable rows, their numbers in the column ``row``.
        allow_nan: leave such rows out instead of refusing them.

    Raises:
        StoreCorrupt: there are some, and they may not be left out; or a row is damaged.
    """
    suspect = np.intersect1d(reader.suspect_rows, index["row"].to_numpy())
    bad = np.array(_found(reader, suspect), np.int64)
    if not len(bad):
        return index
    is_bad = pc.is_in(index["row"], pa.array(bad))
    if not allow_nan:
        raise _refusal(reader.spec, index.filter(is_bad))
    return index.filter(pc.invert(is_bad))


def not_finite(values: Shaped[np.ndarray, " n *stored"], spec: FeatureSpec) -> Bool[np.ndarray, " n"]:
    """Which rows, as they are stored, hold NaN or an infinity."""
    flat = values.reshape(len(values), -1)
    if spec.tier == "int8":
        bad = ~np.isfinite(token_scales(values)).reshape(len(values), -1).all(axis=1)
    elif spec.tier == "bf16":
        bad = (flat & BF16_EXPONENT).max(axis=1) == BF16_EXPONENT
    else:
        bad = ~np.isfinite(flat).all(axis=1)
    found: Bool[np.ndarray, " n"] = bad
    return found


def _found(reader: RowReader, rows: Int[np.ndarray, " n"]) -> list[int]:
    found: list[int] = []
    for start in range(0, len(rows), READ_ROWS):
        some = rows[start : start + READ_ROWS]
        values = np.empty((len(some), *reader.spec.stored_shape), reader.dtype)
        reader.read_into(some, values)
        found += some[not_finite(values, reader.spec)].tolist()
    return found


def _refusal(spec: FeatureSpec, bad: pa.Table) -> StoreCorrupt:
    first = bad.slice(0, 1).select(["episode_index", "camera", "frame_index"]).to_pylist()[0]
    return StoreCorrupt(
        f"feature {spec.key} holds NaN or infinite numbers",
        found=f"{len(bad)} rows of episodes {episode_ranges(set(bad['episode_index'].to_pylist()))}, the first {first}",
        expected="finite numbers",
        remedy="extract these rows again, or train without them with --allow-nan",
    )
