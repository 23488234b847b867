"""Reader threads fill a ring of reusable buffers; batches come out in the order of their steps.

Which rows a step sees is decided by its :class:`~visual_thought.train.sampling.Draw` alone, never by which thread
was faster. What can be done in a reader thread is done there: a batch for the CPU leaves the ring as float32, one for a
GPU as stored numbers in pinned memory. Features that live on the device need no ring.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..pipeline.store.format import stored_dtype
from .numbers import to_float, widen
from .sampling import BlindExchange, Draw, Plan
from .sources import DeviceSource, Source

type Batch = dict[str, Tensor]
"""Fields of one batch by name: features as float32 (b, *shape), targets as they are."""


@dataclass(frozen=True)
class Field:
    """One field of a batch that is read from a feature.

    Args:
        feature: which source.
        rows: the store row of every example, (n,).
        exchange: read another example's row in its place (the instruction-blind control).
    """

    feature: str
    rows: Int[np.ndarray, " n"]
    exchange: BlindExchange | None = None

    def rows_of(self, draw: Draw) -> Int[np.ndarray, " b"]:
        """The store rows of one draw."""
        return self.rows[draw.examples if self.exchange is None else self.exchange(draw)]


@dataclass(frozen=True)
class Loaded:
    """One batch and the draw it was read for."""

    draw: Draw
    batch: Batch


@dataclass
class _Slot:
    """One reusable buffer a field, of a batch's size: float32, or pinned and as stored for a GPU."""

    buffers: dict[str, Shaped[Tensor, " b *shape"]]
    draw: Draw | None = None
    error: BaseException | None = None


class Loader:
    """An iterator over the batches of ``steps``; use it as a context manager, so that its threads end.

    Args:
        sources: features by name.
        fields: the batch's fields that are read from them.
        targets: the batch's other fields, one row an example.
        plan: step -> draw.
        steps: the steps to deliver, in order.
        batch_size: most examples a draw holds.
        threads: reader threads.
        depth: buffers in the ring.
        device: where batches go; buffers are pinned for CUDA.
        ahead: step -> examples whose rows will be asked for soon (``first``: it is the first step).
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        fields: Mapping[str, Field],
        targets: Mapping[str, Tensor],
        plan: Plan,
        steps: range,
        *,
        batch_size: int,
        threads: int = 2,
        depth: int = 4,
        device: torch.device | None = None,
        ahead: Callable[..., Int[np.ndarray, " m"]] | None = None,
    ) -> None:
        self._sources, self._fields, self._targets, self._plan = sources, fields, targets, plan
        self._steps, self._device, self._ahead = steps, device or torch.device("cpu"), ahead
        self._batch_size, self._pinned = batch_size, self._device.type == "cuda"
        self.waited_s = 0.0
        """Seconds the consumer has waited for data so far."""
        self._changed = threading.Condition()
        self._next, self._closed = steps.start, False
        self._free = [self._slot() for _ in range(max(depth, threads + 1))]
        self._ready: dict[int, _Slot] = {}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Loaded]:
        """Batches in the order of their steps; one batch's tensors are valid until the next one is asked for.

        Raises:
            VisualThoughtError: whatever reading its rows raised.
        """
        before: _Slot | None = None
        for step in self._steps:
            slot = self._take(step)
            if slot.error is not None:
                raise slot.error
            assert slot.draw is not None
            loaded = Loaded(slot.draw, self._batch(slot, slot.draw))
            if before is not None:  # last, because readers that wake up want the interpreter too
                self._give_back(before)
            before = slot
            yield loaded

    def close(self) -> None:
        """Stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _slot(self) -> _Slot:
        return _Slot({name: self._buffer(source) for name, source in self._ringed()})

    def _ringed(self) -> list[tuple[str, Source]]:
        """The fields that are read into buffers, and where from."""
        found = [(name, self._sources[field.feature]) for name, field in self._fields.items()]
        return [(name, source) for name, source in found if not isinstance(source, DeviceSource)]

    def _buffer(self, source: Source) -> Shaped[Tensor, " b *shape"]:
        if self._pinned:
            empty = torch.from_numpy(np.empty(0, stored_dtype(source.spec)))
            shape = (self._batch_size, *source.spec.stored_shape)
            return torch.empty(shape, dtype=empty.dtype, pin_memory=True)
        # NumPy asks for huge pages, torch does not: reading into small ones takes twice as long
        return torch.from_numpy(np.empty((self._batch_size, *source.spec.shape), np.float32))

    def _take(self, step: int) -> _Slot:
        start = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: step in self._ready)
            self.waited_s += time.perf_counter() - start
            return self._ready.pop(step)

    def _give_back(self, slot: _Slot) -> None:
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def _work(self) -> None:
        staging = {name: self._staging(source) for name, source in self._ringed() if self._widened(source)}
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next >= self._steps.stop or bool(self._free))
                if self._closed or self._next >= self._steps.stop:
                    return
                step, slot = self._next, self._free.pop()  # together: the oldest step always has a buffer
                self._next += 1
            self._fill(slot, step, staging)
            with self._changed:
                self._ready[step] = slot
                self._changed.notify_all()

    def _widened(self, source: Source) -> bool:
        """Whether stored numbers become float32 in the reader thread."""
        return not self._pinned and source.spec.tier != "fp32"

    def _staging(self, source: Source) -> Shaped[np.ndarray, " b *stored"]:
        """Where a thread of its own puts stored numbers that will be float32."""
        return np.empty((self._batch_size, *source.spec.stored_shape), stored_dtype(source.spec))

    def _fill(self, slot: _Slot, step: int, staging: Mapping[str, Shaped[np.ndarray, " b *stored"]]) -> None:
        try:
            slot.draw = self._plan(step)
            self._read_ahead(step)
            for name, source in self._ringed():
                rows, buffer = self._fields[name].rows_of(slot.draw), slot.buffers[name].numpy()
                stored = staging.get(name, buffer)[: len(rows)]
                source.fill(rows, stored)
                if name in staging:
                    widen(stored, source.channel_scale, buffer[: len(rows)])
        except BaseException as error:  # raised again where the batch is asked for
            slot.error = error

    def _read_ahead(self, step: int) -> None:
        if self._ahead is None:
            return
        examples = self._ahead(step, first=step == self._steps.start)
        for name, source in self._ringed() if len(examples) else []:
            source.read_ahead(self._fields[name].rows[examples])

    def _batch(self, slot: _Slot, draw: Draw) -> Batch:
        count, examples = len(draw.examples), torch.from_numpy(draw.examples)
        features = {name: self._features(name, slot, draw, count) for name in self._fields}
        return features | {name: target[examples].to(self._device) for name, target in self._targets.items()}

    def _features(self, name: str, slot: _Slot, draw: Draw, count: int) -> Tensor:
        """One field as float32 on the device."""
        source = self._sources[self._fields[name].feature]
        if isinstance(source, DeviceSource):
            gathered: Tensor = source.gather(self._fields[name].rows_of(draw))
            return gathered
        values: Tensor = slot.buffers[name][:count].to(self._device)
        if self._pinned:
            values = to_float(values, source.spec, source.channel_scale)
        return values
