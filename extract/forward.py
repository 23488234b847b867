"""Batches through a backbone: preprocess, run, and bring the numbers to the host in the form the store holds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from ..pipeline.errors import MachineError, VisualThoughtError
from ..pipeline.spec import Tier
from .backbones.base import Backbone
from .decode import DecodedBatch, Frame
from .preprocess import preprocess
from .work import Batch, Key, Query, Work, query_chunks


class Output(NamedTuple):
    """One feature of some frames or queries of a batch, maybe still on its way from the device."""

    feature: str
    positions: Sequence[tuple[int, str | None]]
    values: Tensor
    finite: Tensor


class Pending(NamedTuple):
    """A batch that was started: its frames, what comes out of it, and the forward's seconds so far."""

    batch: Batch
    frames: Sequence[Frame]
    outputs: Sequence[Output]
    arrived: torch.cuda.Event | None
    seconds: Mapping[str, float]

    @property
    def seconds_a_row(self) -> dict[str, float]:
        """Seconds a stage, shared out over the batch's rows."""
        rows = sum(len(output.positions) for output in self.outputs)
        return {stage: spent / rows for stage, spent in self.seconds.items()}


class Forward:
    """Runs batches; halves what runs at once when the device's memory is full, and stays there.

    ``launch`` only starts the work on a CUDA device, ``wait`` waits for it: launching a batch before waiting for the
    one before hides the host's work behind the device's.
    """

    def __init__(self, backbone: Backbone, work: Work, batch_size: int) -> None:
        self._backbone, self._work, self._batch_size, self._limit = backbone, work, batch_size, batch_size
        self._tiers: dict[str, Tier] = {spec.name: spec.tier for spec in backbone.specs}
        self._query_features = [spec.name for spec in backbone.specs if spec.per == "query"]

    @torch.inference_mode()
    def launch(self, batch: DecodedBatch) -> Pending:
        """Start one batch; raises MachineError if not even one frame fits the device's memory."""
        start = time.perf_counter()
        states: list[Tensor] = []
        positions = [(at, None) for at in range(len(batch.frames))]
        values = self._in_pieces(positions, lambda piece: self._frames(batch, piece, states))
        outputs = [self._output(name, positions, tensor) for name, tensor in values.items()]
        for chunk in query_chunks(batch.batch, self._work, self._query_features, self._batch_size):
            state = torch.cat(states)
            values = self._in_pieces(chunk, lambda piece, state=state: self._queries(state, piece))  # type: ignore[misc]
            outputs += [self._output(name, chunk, tensor) for name, tensor in values.items()]
        seconds = {"decode": batch.seconds, "forward": time.perf_counter() - start}
        return Pending(batch.batch, batch.frames, outputs, self._arrival(), seconds)

    def wait(self, pending: Pending) -> Pending:
        """The same batch, its numbers on the host."""
        start = time.perf_counter()
        if pending.arrived is not None:
            pending.arrived.synchronize()
        forward = pending.seconds["forward"] + time.perf_counter() - start
        return pending._replace(seconds={**pending.seconds, "forward": forward})

    def rows(self, pending: Pending) -> Iterator[tuple[Key, Frame, Shaped[np.ndarray, "*shape"]]]:
        """Every row of a batch that :meth:`wait` returned, as the store holds it: uint16 for bf16, else float32.

        Raises:
            VisualThoughtError: a row holds NaN or Inf; names feature, frame and instruction.
        """
        for output in pending.outputs:
            finite, values = output.finite.tolist(), output.values.numpy()
            for index, (position, instruction) in enumerate(output.positions):
                key = Key(output.feature, pending.batch.frames[position], instruction)
                if not finite[index]:
                    raise _not_finite(key, pending.frames[position].pts_s)
                yield key, pending.frames[position], values[index]

    def _frames(
        self, batch: DecodedBatch, piece: Sequence[tuple[int, str | None]], states: list[Tensor]
    ) -> Mapping[str, Tensor]:
        frames = [batch.frames[position].rgb for position, _ in piece]
        pixels = preprocess(frames, self._backbone.specs[0].image, self._backbone.device)
        features, state = self._backbone.encode_frames(pixels)
        if state is not None:
            states.append(state)
        return features

    def _queries(self, state: Tensor, piece: Sequence[Query]) -> Mapping[str, Tensor]:
        at = torch.tensor([query.position for query in piece], device=state.device)
        return self._backbone.encode_queries(state[at], [query.instruction for query in piece])

    def _in_pieces[T](
        self, items: Sequence[T], run: Callable[[Sequence[T]], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        done: list[Mapping[str, Tensor]] = []
        start = 0
        while start < len(items):
            piece = items[start : start + self._limit]
            try:
                done.append(run(piece))
                start += len(piece)
            except torch.OutOfMemoryError as error:
                self._halve(len(piece), error)
        return {name: torch.cat([values[name] for values in done]) for name in done[0]}

    def _halve(self, tried: int, error: torch.OutOfMemoryError) -> None:
        if tried == 1:
            raise MachineError(
                f"the memory of {self._backbone.device} does not hold one frame",
                found=str(error).splitlines()[0],
                remedy="use another device, bf16, or a smaller image_size",
            ) from error
        self._limit = max(1, tried // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _output(self, feature: str, positions: Sequence[tuple[int, str | None]], values: Tensor) -> Output:
        stored = values.to(torch.bfloat16) if self._tiers[feature] == "bf16" else values.float()
        finite = torch.isfinite(stored).flatten(1).all(dim=1)  # (rows,)
        stored = stored.contiguous().view(torch.uint16) if stored.dtype == torch.bfloat16 else stored.contiguous()
        return Output(feature, positions, _to_host(stored), _to_host(finite))

    def _arrival(self) -> torch.cuda.Event | None:
        if self._backbone.device.type != "cuda":
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._backbone.device))
        return event


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _not_finite(key: Key, pts_s: float) -> VisualThoughtError:
    frame = key.frame
    about = "" if key.instruction is None else f", instruction {key.instruction!r}"
    return VisualThoughtError(
        f"feature {key.feature} is not finite",
        found=f"NaN or Inf in {frame.repo_id}, episode {frame.episode}, camera {frame.camera}, frame {frame.frame} "
        f"({pts_s:.3f} s){about}",
        expected="finite numbers; nothing of this part was stored",
        remedy="check the checkpoint's weights, or use dtype fp32",
    )
