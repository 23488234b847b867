"""Where feature rows come from: the store's files, or memory filled from them once."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Int, Shaped

from ..pipeline.errors import ConfigError, StoreCorrupt
from ..pipeline.spec import FeatureSpec
from ..pipeline.store.format import stored_dtype
from ..pipeline.store.int8 import ChannelScale, token_scales
from ..pipeline.store.reader import RowReader
from .config import LoaderConfig

LOAD_ROWS = 256  # rows a read when filling memory


class Source(Protocol):
    """Rows of one feature by global row number, as they are stored (bf16 as uint16, float32, or int8 with scales)."""

    spec: FeatureSpec
    channel_scale: ChannelScale | None

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, "n *shape"]) -> None:
        """Copy rows into ``out``; safe from several threads."""


class DiskSource:
    """Every read goes to the store; every row is checked to be finite."""

    def __init__(self, reader: RowReader) -> None:
        self.spec, self.channel_scale, self._reader = reader.spec, reader.channel_scale, reader

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, "n *shape"]) -> None:
        """Read rows; raises the store's errors, and StoreCorrupt for a NaN or an infinity."""
        self._reader.read_into(rows, out)
        refuse_nonfinite(out, rows, self.spec)


class MemorySource:
    """The rows a run needs, read and checked once.

    Args:
        source: where they are read from.
        rows: global row numbers, repeats allowed.
    """

    def __init__(self, source: Source, rows: Int[np.ndarray, " n"]) -> None:
        self.spec, self.channel_scale, self._rows = source.spec, source.channel_scale, np.unique(rows)
        self._values = np.empty((len(self._rows), *self.spec.stored_shape), stored_dtype(self.spec))
        for start in range(0, len(self._rows), LOAD_ROWS):
            part = slice(start, start + LOAD_ROWS)
            source.fill(self._rows[part], self._values[part])

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, "n *shape"]) -> None:
        """Copy rows that were asked for at the start."""
        np.take(self._values, np.searchsorted(self._rows, rows), axis=0, out=out, mode="clip")


def open_sources(
    readers: Mapping[str, RowReader], rows: Mapping[str, Int[np.ndarray, " n"]], config: LoaderConfig, free_bytes: int
) -> dict[str, Source]:
    """One source a feature, in memory or on disk as the config says.

    Args:
        readers: open readers by the task's feature names.
        rows: every global row the run will ask for, by the same names.
        config: residency and share of memory.
        free_bytes: memory free now.

    Raises:
        ConfigError: ``ram`` is asked for and does not fit.
    """
    disk: dict[str, Source] = {name: DiskSource(reader) for name, reader in readers.items()}
    needed = sum(len(np.unique(rows[name])) * reader.spec.row_bytes for name, reader in readers.items())
    fits = needed <= config.memory_share * free_bytes
    if config.residency == "ram" and not fits:
        raise ConfigError(
            "the features do not fit into memory",
            found=f"{needed / 1e9:.2f} GB needed",
            expected=f"at most {config.memory_share:.0%} of {free_bytes / 1e9:.2f} GB free",
            remedy="set loader.residency=disk, or raise loader.memory_share",
        )
    if config.residency == "disk" or not fits:
        return disk
    return {name: MemorySource(source, rows[name]) for name, source in disk.items()}


def refuse_nonfinite(values: Shaped[np.ndarray, "n *shape"], rows: Int[np.ndarray, " n"], spec: FeatureSpec) -> None:
    """StoreCorrupt if any stored number is NaN or infinite: a head trained on it would be worth nothing."""
    flat = values.reshape(len(rows), -1)
    if spec.tier == "int8":
        bad = ~np.isfinite(token_scales(values)).reshape(len(rows), -1)
    else:
        bad = (flat & 0x7F80) == 0x7F80 if spec.tier == "bf16" else ~np.isfinite(flat)  # an exponent of ones
    if bad.any():
        found = rows[bad.any(axis=1)]
        raise StoreCorrupt(
            f"feature {spec.key} holds NaN or infinite numbers",
            found=f"{len(found)} rows, the first is row {found[0]}",
            expected="finite numbers",
            remedy="run `vtt store verify`, then extract these rows again",
        )
