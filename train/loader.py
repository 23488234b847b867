"""Reader threads fill a ring of reusable buffers; batches come out in the order of their steps.

Which rows a step sees is decided by its :class:`~visual_thought.train.sampling.Draw` alone, never by which thread
was faster.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..pipeline.store.int8 import dequantise
from .sampling import BlindExchange, Draw, Plan
from .sources import Source

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
    """One reusable buffer a field, of a batch's size."""

    buffers: dict[str, Shaped[np.ndarray, "b *shape"]]
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
    ) -> None:
        self._sources, self._fields, self._targets, self._plan = sources, fields, targets, plan
        self._steps, self._device = steps, device or torch.device("cpu")
        self.waited_s = 0.0
        """Seconds the consumer has waited for data so far."""
        self._changed = threading.Condition()
        self._next, self._closed = steps.start, False
        self._free = [self._slot(batch_size) for _ in range(max(depth, threads + 1))]
        self._ready: dict[int, _Slot] = {}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Loaded]:
        """Batches in the order of their steps; one batch's tensors are valid until the next one is asked for.

        Raises:
            VisualThoughtError: whatever reading its rows raised.
        """
        for step in self._steps:
            slot = self._take(step)
            if slot.error is not None:
                raise slot.error
            assert slot.draw is not None
            yield Loaded(slot.draw, self._batch(slot, slot.draw))
            self._give_back(slot)

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

    def _slot(self, batch_size: int) -> _Slot:
        return _Slot(
            {
                name: _buffer(self._sources[field.feature], batch_size, self._device.type == "cuda")
                for name, field in self._fields.items()
            }
        )

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
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next >= self._steps.stop or bool(self._free))
                if self._closed or self._next >= self._steps.stop:
                    return
                step, slot = self._next, self._free.pop()  # together: the oldest step always has a buffer
                self._next += 1
            self._fill(slot, step)
            with self._changed:
                self._ready[step] = slot
                self._changed.notify_all()

    def _fill(self, slot: _Slot, step: int) -> None:
        try:
            slot.draw = self._plan(step)
            for name, field in self._fields.items():
                rows = field.rows_of(slot.draw)
                self._sources[field.feature].fill(rows, slot.buffers[name][: len(rows)])
        except BaseException as error:  # raised again where the batch is asked for
            slot.error = error

    def _batch(self, slot: _Slot, draw: Draw) -> Batch:
        count, examples = len(draw.examples), torch.from_numpy(draw.examples)
        features = {
            name: _features(buffer[:count], self._sources[self._fields[name].feature], self._device)
            for name, buffer in slot.buffers.items()
        }
        return features | {name: target[examples].to(self._device) for name, target in self._targets.items()}


def _buffer(source: Source, batch_size: int, pinned: bool) -> Shaped[np.ndarray, "b *stored"]:
    dtype = {"bf16": torch.uint16, "fp32": torch.float32, "int8": torch.int8}[source.spec.tier]
    shape = (batch_size, *source.spec.stored_shape)
    buffer: Shaped[np.ndarray, "b *stored"] = torch.empty(shape, dtype=dtype, pin_memory=pinned).numpy()
    return buffer


def _features(values: Shaped[np.ndarray, "b *stored"], source: Source, device: torch.device) -> Tensor:
    """Stored numbers as float32 on the device."""
    if source.channel_scale is not None:
        return torch.from_numpy(dequantise(values, source.channel_scale)).to(device)
    tensor = torch.from_numpy(values).to(device)
    return tensor.view(torch.bfloat16).float() if tensor.dtype == torch.uint16 else tensor.float()
