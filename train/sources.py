"""Where feature rows come from: the store's files, or memory filled from them once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..pipeline.errors import ConfigError, StoreCorrupt
from ..pipeline.spec import FeatureSpec
from ..pipeline.store.format import stored_dtype
from ..pipeline.store.int8 import ChannelScale
from ..pipeline.store.reader import RowReader
from .config import LoaderConfig
from .nonfinite import not_finite
from .numbers import to_float

LOAD_ROWS = 256  # rows a read when filling memory


class Source(Protocol):
    """Rows of one feature by global row number, as they are stored (bf16 as uint16, float32, or int8 with scales)."""

    spec: FeatureSpec
    channel_scale: ChannelScale | None

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, " n *shape"]) -> None:
        """Copy rows into ``out``; safe from several threads."""

    def read_ahead(self, rows: Int[np.ndarray, " n"]) -> None:
        """Rows that will be asked for soon."""


class DiskSource:
    """Every read goes to the store; a row is checked to be finite at its first read, as its checksum is.

    What else a run reads from is filled through this, so that this is where every row is checked.
    """

    def __init__(self, reader: RowReader) -> None:
        self.spec, self.channel_scale, self._reader = reader.spec, reader.channel_scale, reader
        self._finite = np.zeros(reader.num_rows, bool)  # read before and found so; threads may find it at once

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, " n *shape"]) -> None:
        """Read rows; raises the store's errors, and StoreCorrupt for a NaN or an infinity."""
        self._reader.read_into(rows, out)
        new = ~self._finite[rows]  # (n,)
        count = np.count_nonzero(new)
        if count:
            refuse_nonfinite(out if count == len(rows) else out[new], rows[new], self.spec)
            self._finite[rows] = True

    def read_ahead(self, rows: Int[np.ndarray, " n"]) -> None:
        """Have the kernel read their parts."""
        self._reader.read_ahead(rows)


class MemorySource:
    """The rows a run needs, read and checked once.

    Args:
        source: where they are read from.
        rows: global row numbers, repeats allowed.
        between: called between two reads; it may raise.
    """

    def __init__(
        self, source: Source, rows: Int[np.ndarray, " n"], between: Callable[[], object] = lambda: None
    ) -> None:
        self.spec, self.channel_scale, self._rows = source.spec, source.channel_scale, np.unique(rows)
        self._values = np.empty((len(self._rows), *self.spec.stored_shape), stored_dtype(self.spec))
        for start in range(0, len(self._rows), LOAD_ROWS):
            between()
            part = slice(start, start + LOAD_ROWS)
            source.fill(self._rows[part], self._values[part])

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, " n *shape"]) -> None:
        """Copy rows that were asked for at the start."""
        np.take(self._values, np.searchsorted(self._rows, rows), axis=0, out=out, mode="clip")

    def read_ahead(self, rows: Int[np.ndarray, " n"]) -> None:
        """Nothing to do: they are here."""


class DeviceSource:
    """The rows a run needs, on the device that trains; batches are gathered there.

    Args:
        source: where they are read from.
        rows: global row numbers, repeats allowed.
        device: where they go.
        between: called between two reads; it may raise.
    """

    def __init__(
        self,
        source: Source,
        rows: Int[np.ndarray, " n"],
        device: torch.device,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self.spec, self.channel_scale, self._rows = source.spec, source.channel_scale, np.unique(rows)
        shape, kind = (len(self._rows), *self.spec.stored_shape), torch.from_numpy(np.empty(0, stored_dtype(self.spec)))
        self._values = torch.empty(shape, dtype=kind.dtype, device=device)
        staging = np.empty((min(LOAD_ROWS, len(self._rows)), *self.spec.stored_shape), stored_dtype(self.spec))
        for start in range(0, len(self._rows), LOAD_ROWS):
            between()
            wanted = self._rows[start : start + LOAD_ROWS]
            source.fill(wanted, staging[: len(wanted)])
            self._values[start : start + len(wanted)].copy_(torch.from_numpy(staging[: len(wanted)]))

    def gather(self, rows: Int[np.ndarray, " n"]) -> Float[Tensor, " n *shape"]:
        """Rows that were asked for at the start, as float32 on the device."""
        places = torch.from_numpy(np.searchsorted(self._rows, rows)).to(self._values.device)
        values = self._values.view(torch.int16) if self.spec.tier == "bf16" else self._values
        return to_float(values[places], self.spec, self.channel_scale)

    def fill(self, rows: Int[np.ndarray, " n"], out: Shaped[np.ndarray, " n *shape"]) -> None:
        """Copy rows that were asked for at the start back into the host's memory."""
        places = torch.from_numpy(np.searchsorted(self._rows, rows)).to(self._values.device)
        values = self._values.view(torch.int16) if self.spec.tier == "bf16" else self._values
        out[:] = values[places].cpu().numpy().view(out.dtype)

    def read_ahead(self, rows: Int[np.ndarray, " n"]) -> None:
        """Nothing to do: they are here."""


@dataclass(frozen=True)
class Free:
    """Memory free at the start.

    Args:
        host_bytes: of the machine.
        device: what trains.
        device_bytes: of that device's own memory; 0 if it has none.
    """

    host_bytes: int
    device: torch.device
    device_bytes: int = 0


def open_sources(
    readers: Mapping[str, RowReader],
    rows: Mapping[str, Int[np.ndarray, " n"]],
    config: LoaderConfig,
    free: Free,
    *,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Source]:
    """One source a feature: on the device, in memory or on disk as the config says.

    Args:
        readers: open readers by the task's feature names.
        rows: every global row the run will ask for, by the same names.
        config: residency and share of memory.
        free: memory free now.
        between: called between two reads while memory is filled; it may raise.

    Raises:
        ConfigError: ``ram`` or ``gpu`` is asked for and does not fit, or there is no GPU.
    """
    disk: dict[str, Source] = {name: DiskSource(reader) for name, reader in readers.items()}
    needed = sum(len(np.unique(rows[name])) * reader.spec.row_bytes for name, reader in readers.items())
    place = _residency(config, needed, free)
    if place == "gpu":
        return {name: DeviceSource(source, rows[name], free.device, between) for name, source in disk.items()}
    if place == "ram":
        return {name: MemorySource(source, rows[name], between) for name, source in disk.items()}
    return disk


def _residency(config: LoaderConfig, needed: int, free: Free) -> str:
    """disk, ram or gpu; ConfigError if the one that is asked for cannot be."""
    rooms = {"gpu": free.device_bytes, "ram": free.host_bytes}
    if config.residency == "auto":
        return next((name for name, room in rooms.items() if needed <= config.memory_share * room), "disk")
    room = rooms.get(config.residency)
    if room is None or needed <= config.memory_share * room:
        return config.residency
    if config.residency == "gpu" and not room:
        raise ConfigError(
            "loader.residency=gpu needs a GPU to train on",
            found=f"device {free.device}, {needed / 1e9:.2f} GB of features",
            remedy="set device=cuda, or loader.residency=ram",
        )
    raise ConfigError(
        f"the features do not fit into the memory of the {'GPU' if config.residency == 'gpu' else 'machine'}",
        found=f"{needed / 1e9:.2f} GB needed",
        expected=f"at most {config.memory_share:.0%} of {room / 1e9:.2f} GB free",
        remedy="set loader.residency=disk, or raise loader.memory_share",
    )


def refuse_nonfinite(values: Shaped[np.ndarray, " n *shape"], rows: Int[np.ndarray, " n"], spec: FeatureSpec) -> None:
    """StoreCorrupt if any stored number is NaN or infinite: a head trained on it would be worth nothing."""
    bad = not_finite(values, spec)
    if bad.any():
        found = rows[bad]
        raise StoreCorrupt(
            f"feature {spec.key} holds NaN or infinite numbers",
            found=f"{len(found)} rows, the first is row {found[0]}",
            expected="finite numbers",
            remedy="run `vtt store verify`, then extract these rows again",
        )
