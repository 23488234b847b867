"""What the loop asks of a task. The loop knows nothing else about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from ...pipeline.manifest import DatasetManifest
from ...pipeline.spec import FeatureSpec
from ..config import TrainConfig
from ..loader import Batch, Field
from ..objectives.terms import Term
from ..sources import Source

type Arrays = dict[str, Shaped[np.ndarray, " b *shape"]]
"""What one batch of a validation leaves behind, by name; the first axis is the example."""


@dataclass(frozen=True)
class Examples:
    """Every example of a run, n of them, in one fixed order.

    Args:
        table: what each is: at least ``episode_index``, ``frame_index`` and ``camera``.
        rows: the store row of every example, by the task's feature names, each (n,).
        targets: what is to be learned, by field name, each (n, …).
        episodes: every episode that has examples, those left out included; splits are drawn over these.
        left_out: examples dropped because their rows are missing from a partial store.
        queries: (example, row of ``z``) of every query of every example's frame, by example; where examples are frames.
    """

    table: pa.Table
    rows: Mapping[str, Int[np.ndarray, " n"]]
    targets: Mapping[str, Tensor]
    episodes: tuple[int, ...]
    left_out: int = 0
    queries: Int[np.ndarray, "m 2"] | None = None


@dataclass(frozen=True)
class Contender:
    """A model that trains beside others on the same batches: the head, or one of its controls.

    Args:
        name: ``head`` or the control's name.
        model: what is trained.
        reads: fields that this contender gets in place of others: ``{"z": "z_blind"}``.
    """

    name: str
    model: nn.Module
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether it has anything to train; what has not is known in closed form and only judged."""
        return any(parameter.requires_grad for parameter in self.model.parameters())

    def view(self, batch: Batch) -> Batch:
        """The batch as this contender sees it."""
        return batch | {name: batch[instead] for name, instead in self.reads.items()}


@dataclass(frozen=True)
class Observation:
    """One contender on one batch in eval mode: its loss terms, and what the metrics need."""

    terms: dict[str, Term]
    arrays: Arrays


class Task(Protocol):
    """Made from the config and the specs of its features; see :class:`~.ground.GroundTask`."""

    config: TrainConfig
    """The config with the defaults of the task's own sections filled in."""
    best_by: str
    """The validation metric that chooses the best checkpoint."""
    higher_is_better: bool
    """Which way that metric is better."""
    names: tuple[str, ...]
    """The contenders: ``head`` first, then the controls."""

    def __init__(self, config: TrainConfig, specs: Mapping[str, FeatureSpec]) -> None:
        """ConfigError for a section that cannot be read, a missing feature or an unknown control."""

    def examples(self, manifest: DatasetManifest, indexes: Mapping[str, pa.Table]) -> Examples:
        """Join labels or frames with the rows of each feature.

        Args:
            manifest: the data manifest.
            indexes: by feature name, the rows that can be read: the index's columns and ``row``, the row number.
        """

    def fields(self, examples: Examples, seed: int) -> dict[str, Field]:
        """The batch's fields that are read from the store; ``seed`` drives what is random in them."""

    def prepare(self, sources: Mapping[str, Source], examples: Examples, train: Int[np.ndarray, " m"]) -> None:
        """Learn in closed form, before any contender is built for training, what the ``train`` examples' rows say.

        A contender that is built without this (to load a checkpoint) has the same tensors, with other numbers in them.
        """

    def contender(self, name: str) -> Contender:
        """Build one contender with fresh weights from torch's default generator."""

    def terms(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Term]:
        """The loss of one training step (counted from 0)."""

    def observe(self, model: nn.Module, batch: Batch) -> Observation:
        """One batch in eval mode."""

    def metrics(self, arrays: Arrays) -> dict[str, float]:
        """The numbers of one split from the arrays of all its batches, joined."""
