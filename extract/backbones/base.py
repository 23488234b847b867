"""The seam every frozen backbone fits: declare features without weights, load, make features from a batch.

A backbone is a module with a :class:`BackboneKind` and one line in ``pipeline/registry.py``. What its ``load`` returns
works in two steps, because frames and queries differ in number: the vision tower runs once a frame, whatever depends
on an instruction once a query.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor

from ...pipeline.spec import FeatureSpec, Resize, Tier


class FrameBatch(NamedTuple):
    """What one pass over a batch of frames gives."""

    features: Mapping[str, Tensor]
    """Features that belong to frames: name -> (b, \\*spec.shape), float32."""
    state: Tensor | None
    """What :meth:`Backbone.encode_queries` needs of each frame, (b, …); None if no query feature was asked for."""


class Backbone(Protocol):
    """A loaded, frozen network on one device."""

    specs: tuple[FeatureSpec, ...]
    device: torch.device

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """Run what belongs to frames, once."""
        ...

    def encode_queries(self, state: Float[Tensor, "q ..."], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """Run what belongs to queries: one row of ``state`` and one instruction each.

        Returns:
            name -> (q, \\*spec.shape), float32.
        """
        ...


class Describe(Protocol):
    """Declares features, reading configuration files and hashes only: no weights, no model class."""

    def __call__(
        self,
        checkpoint: str,
        *,
        features: Sequence[str],
        dtype: Tier,
        resize: Resize | None,
        image_size: tuple[int, int] | None,
        frame_size: tuple[int, int] | None,
        options: Mapping[str, JsonValue],
        revision: str | None,
        hash_cache: Path | None,
        hub_cache: Path | None,
    ) -> tuple[FeatureSpec, ...]:
        """Describe ``features`` of a checkpoint, in that order.

        Args:
            checkpoint: a directory or a Hub id.
            features: names out of :attr:`BackboneKind.features`.
            dtype: compute and storage type.
            resize: ``squash`` or ``letterbox``; None is the checkpoint's own.
            image_size: (height, width) of the network input in pixels; None is the checkpoint's own.
            frame_size: (height, width) of the dataset's frames, for inputs that follow it; None if it has several.
            options: the backbone's own, by names out of :attr:`BackboneKind.options`.
            revision: commit, tag or branch of a Hub repository.
            hash_cache: folder that remembers file hashes.
            hub_cache: the Hub's cache folder; None is the Hub's default.
        """
        ...


class Load(Protocol):
    """Loads the network that makes the described features."""

    def __call__(
        self,
        checkpoint: str,
        specs: Sequence[FeatureSpec],
        *,
        device: torch.device,
        revision: str | None,
        hub_cache: Path | None,
    ) -> Backbone:
        """Load what ``specs`` need onto ``device``."""
        ...


class BackboneKind(NamedTuple):
    """What a backbone's module offers, and what its line in the registry names."""

    describe: Describe
    load: Load
    features: tuple[str, ...]
    """Names of the features it can make; one run takes each name from one backbone only."""
    options: Mapping[str, JsonValue] = {}
    """Its own options and what they are if not given."""
    checkpoint: str | None = None
    """The Hub id of the checkpoint that is meant where none is named; None if there is no usual one."""
    usual: tuple[str, ...] = ()
    """The features that are meant where none is named; () is all of them."""
