"""Batches through backbones: preprocess, run, and bring the numbers to the host in the form the store holds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..pipeline.errors import MachineError, VisualThoughtError
from ..pipeline.spec import FeatureSpec, ImageSpec
from .backbones.base import Backbone
from .decode import DecodedBatch, Frame
from .frames import FrameId
from .preprocess import preprocess
from .transfer import Arrival, to_device, to_host
from .work import Batch, Key, Query, query_chunks


class Output(NamedTuple):
    """One feature of some frames or queries of a batch, maybe still on its way from the device."""

    spec: FeatureSpec
    positions: Sequence[tuple[int, str | None]]
    values: Tensor
    finite: Tensor


class Pending(NamedTuple):
    """A batch that was started: its frames, what comes out of it, and the forward's seconds so far."""

    batch: Batch
    frames: Sequence[Frame]
    outputs: Sequence[Output]
    arrived: Arrival
    seconds: Mapping[str, float]

    @property
    def seconds_a_row(self) -> dict[str, float]:
        """Seconds a stage, shared out over the batch's rows."""
        rows = sum(len(output.positions) for output in self.outputs)
        return {stage: spent / max(rows, 1) for stage, spent in self.seconds.items()}


class Forward:
    """Runs batches through every backbone that owes a row of them.

    ``launch`` only starts the work on a CUDA device, ``wait`` waits for it: launching a batch before waiting for the
    one before hides the host's work behind the device's.
    """

    def __init__(self, backbones: Sequence[Backbone], batch_size: int, *, record_nan: bool = False) -> None:
        self._record_nan = record_nan
        self._backbones = [_Runner(backbone, batch_size) for backbone in backbones]
        self._device = backbones[0].device

    @property
    def images(self) -> tuple[ImageSpec, ...]:
        """The different network inputs, each made once a frame."""
        return tuple(dict.fromkeys(runner.image for runner in self._backbones))

    @property
    def limit(self) -> int:
        """Frames that run at once on every backbone: the batch size, or less after memory ran out."""
        return min(runner.limit for runner in self._backbones)

    def inputs(self, frame: Frame) -> dict[ImageSpec, Float[Tensor, "3 height width"]]:
        """A frame's network inputs on the host, for a thread that decodes."""
        return {image: preprocess([frame.rgb], image)[0] for image in self.images}

    @torch.inference_mode()
    def launch(self, batch: DecodedBatch) -> Pending:
        """Start one batch; raises MachineError if not even one frame fits the device's memory."""
        start = time.perf_counter()
        needed = [runner for runner in self._backbones if runner.owes(batch.batch)]
        pixels = self._pixels(batch, dict.fromkeys(runner.image for runner in needed))
        outputs = [output for runner in needed for output in runner.run(batch.batch, pixels[runner.image])]
        seconds = {"decode": batch.seconds, "forward": time.perf_counter() - start}
        return Pending(batch.batch, batch.frames, outputs, Arrival(self._device), seconds)

    def wait(self, pending: Pending) -> Pending:
        """The same batch, its numbers on the host."""
        start = time.perf_counter()
        pending.arrived.wait()
        forward = pending.seconds["forward"] + time.perf_counter() - start
        return pending._replace(seconds={**pending.seconds, "forward": forward})

    def rows(self, pending: Pending) -> Iterator[tuple[Key, Frame, Shaped[np.ndarray, "*shape"]]]:
        """Every row of a batch that :meth:`wait` returned, as the store holds it: uint16 for bf16, else float32.

        Raises:
            VisualThoughtError: a row holds NaN or Inf that is not to be recorded; names feature, frame, instruction.
        """
        for output in pending.outputs:
            finite, values = output.finite.tolist(), output.values.numpy()
            for index, (position, instruction) in enumerate(output.positions):
                frame = pending.frames[position]
                key = Key(output.spec.key, pending.batch.frames[position], instruction)
                if not (finite[index] or self._record_nan):
                    raise _not_finite(output.spec, key, frame.pts_s)
                yield key, frame, values[index]

    def _pixels(
        self, batch: DecodedBatch, images: Mapping[ImageSpec, None]
    ) -> dict[ImageSpec, Float[Tensor, "b 3 height width"]]:
        """Network inputs of a whole batch: those made already, or made on the device."""
        if batch.inputs and all(image in batch.inputs[0] for image in images):
            return {image: torch.stack([one[image] for one in batch.inputs]).to(self._device) for image in images}
        frames = to_device([frame.rgb for frame in batch.frames], self._device)
        return {image: preprocess(frames, image, self._device) for image in images}


class _Runner:
    """One backbone; halves what it runs at once when the device's memory is full, and stays there."""

    def __init__(self, backbone: Backbone, batch_size: int) -> None:
        self._backbone, self._batch_size, self.limit = backbone, batch_size, batch_size
        self.image = backbone.specs[0].image
        self._specs = {spec.name: spec for spec in backbone.specs}
        self._of_frames = [spec.key for spec in backbone.specs if spec.per == "frame"]
        self._of_queries = [spec.key for spec in backbone.specs if spec.per == "query"]

    def owes(self, batch: Batch) -> bool:
        """Whether a row of the batch is missing that this backbone makes."""
        chunks = query_chunks(batch, self._of_queries, self._batch_size)
        return any(batch.lacks(key) for key in self._of_frames) or next(chunks, None) is not None

    def run(self, batch: Batch, pixels: Float[Tensor, "b 3 height width"]) -> Iterator[Output]:
        """The tower once a frame, then whatever depends on an instruction once a query."""
        states: list[Tensor] = []
        positions = [(at, None) for at in range(len(pixels))]
        for name, values in self._in_pieces(positions, lambda piece: self._frames(pixels, piece, states)).items():
            yield _output(self._specs[name], positions, values)
        chunks = list(query_chunks(batch, self._of_queries, self._batch_size))
        state = torch.cat(states) if chunks else None
        for chunk in chunks:
            for name, values in self._in_pieces(chunk, lambda piece: self._queries(state, piece)).items():
                yield _output(self._specs[name], chunk, values)

    def _frames(
        self, pixels: Float[Tensor, "b 3 height width"], piece: Sequence[tuple[int, None]], states: list[Tensor]
    ) -> Mapping[str, Tensor]:
        features, state = self._backbone.encode_frames(pixels[piece[0][0] : piece[-1][0] + 1])
        if state is not None:
            states.append(state)
        return features

    def _queries(self, state: Tensor | None, piece: Sequence[Query]) -> Mapping[str, Tensor]:
        assert state is not None  # a backbone with query features gives one
        at = torch.tensor([query.position for query in piece], device=state.device)
        return self._backbone.encode_queries(state[at], [query.instruction for query in piece])

    def _in_pieces[T](
        self, items: Sequence[T], run: Callable[[Sequence[T]], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        done: list[Mapping[str, Tensor]] = []
        start = 0
        while start < len(items):
            piece = items[start : start + self.limit]
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
        self.limit = max(1, tried // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _output(spec: FeatureSpec, positions: Sequence[tuple[int, str | None]], values: Tensor) -> Output:
    stored = values.to(torch.bfloat16) if spec.tier == "bf16" else values.float()
    finite = torch.isfinite(stored).flatten(1).all(dim=1)  # (rows,)
    stored = stored.contiguous().view(torch.uint16) if stored.dtype == torch.bfloat16 else stored.contiguous()
    return Output(spec, positions, to_host(stored), to_host(finite))


def _not_finite(spec: FeatureSpec, key: Key, pts_s: float) -> VisualThoughtError:
    frame: FrameId = key.frame
    about = "" if key.instruction is None else f", instruction {key.instruction!r}"
    return VisualThoughtError(
        f"feature {spec.name} is not finite",
        found=f"NaN or Inf in {frame.repo_id}, episode {frame.episode}, camera {frame.camera}, frame {frame.frame} "
        f"({pts_s:.3f} s){about}",
        expected="finite numbers; nothing of this part was stored",
        remedy="check the checkpoint's weights, or use dtype fp32; --nan record stores such rows and counts them",
    )
