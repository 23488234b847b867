"""Rows of a run's features made now: frames and instructions in, the numbers that a store would hold out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...extract.backbones.base import Backbone
from ...extract.preprocess import preprocess
from ...pipeline.record import RunRecord
from ...pipeline.spec import FeatureSpec
from .backbones import NO_CACHES, Caches, Maker, find_makers, load_maker

type Picture = UInt8[np.ndarray, "h w 3"]


@dataclass
class Clock:
    """Seconds by stage, added up; a CUDA device has finished a stage before its time is taken."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class LiveFeatures:
    """Loaded backbones and what each makes, by the record's feature names."""

    makers: tuple[tuple[Maker, Backbone], ...]
    device: torch.device

    @classmethod
    def load(cls, makers: Sequence[Maker], *, device: torch.device, caches: Caches = NO_CACHES) -> Self:
        """Load the weights. Raises WeightsError if they are damaged."""
        return cls(tuple((maker, load_maker(maker, device=device, caches=caches)) for maker in makers), device)

    @property
    def specs(self) -> dict[str, FeatureSpec]:
        """What every feature is."""
        return {name: spec for maker, _ in self.makers for name, spec in maker.specs.items()}

    def only(self, name: str) -> "LiveFeatures":
        """The backbone that makes one feature, alone."""
        return LiveFeatures(tuple(pair for pair in self.makers if name in pair[0].specs), self.device)

    @torch.inference_mode()
    def rows(
        self, frames: Sequence[Picture], instructions: Sequence[str], clock: Clock | None = None
    ) -> dict[str, Float[Tensor, " b *shape"]]:
        """One row a frame and instruction, as the compute type gives and a store keeps it.

        Args:
            frames: RGB pictures, each of its own size.
            instructions: what is asked about each.
            clock: adds up ``preprocess`` and ``backbone``.

        Returns:
            feature name -> (b, *shape), float32 on the device; rounded to bfloat16 where that is how it is computed.
        """
        clock, found = clock or Clock(self.device), dict[str, Tensor]()
        for maker, backbone in self.makers:
            with clock.stage("preprocess"):
                pixels = preprocess(frames, backbone.specs[0].image, self.device)  # (b, 3, h, w)
            with clock.stage("backbone"):
                made = _run(backbone, pixels, instructions)
                found |= {name: kept(made[spec.name], spec) for name, spec in maker.specs.items()}
        return found


def open_live(
    record: RunRecord,
    names: Sequence[str],
    *,
    given: Sequence[str] = (),
    device: torch.device,
    frame_size: tuple[int, int] | None = None,
    caches: Caches = NO_CACHES,
) -> LiveFeatures:
    """Find, compare and load what makes a run's features; errors as of :func:`find_makers`."""
    makers = find_makers(record, names, given=given, frame_size=frame_size, caches=caches)
    return LiveFeatures.load(makers, device=device, caches=caches)


def kept(values: Float[Tensor, " b *shape"], spec: FeatureSpec) -> Float[Tensor, " b *shape"]:
    """Numbers as an extraction stores them, read back: rounded to bfloat16 where the compute type is that."""
    return values.to(torch.bfloat16).float() if spec.compute["dtype"] == "bf16" else values.float()


def _run(
    backbone: Backbone, pixels: Float[Tensor, "b 3 h w"], instructions: Sequence[str]
) -> Mapping[str, Float[Tensor, " b *shape"]]:
    made, state = backbone.encode_frames(pixels)
    return made if state is None else {**made, **backbone.encode_queries(state, instructions)}
