"""VLM-token grounding (paper, section 2.2.3): which image tokens matter to the instruction, and where in them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ...pipeline import registry
from ...pipeline.config import build, to_plain
from ...pipeline.datasets.labels import read_labels, select_labels
from ...pipeline.datasets.targets import targets_of
from ...pipeline.errors import ConfigError, ManifestError
from ...pipeline.manifest import DatasetManifest
from ...pipeline.metrics.grounding import count_cells, f_score, negative_false_alarm_rate, precision, recall
from ...pipeline.spec import FeatureSpec
from ..config import TrainConfig
from ..decoder import VisualThoughtDecoder
from ..frames import refuse_single_queries
from ..heads.ground import GroundingHeadConfig, GroundingShapes
from ..heads.probe import LinearProbe
from ..heads.scores import predict, top_candidates
from ..joins import FRAME, QUERY, frame_groups, match_rows, refuse_absent
from ..loader import Batch, Field
from ..objectives.grounding import GroundingObjectiveConfig, choose_candidates, grounding_terms
from ..objectives.terms import Term
from ..sampling import BlindExchange
from ..sources import Source
from .base import Arrays, Contender, Examples, Observation
from .checks import feature, known_controls, refuse_unknown, sized
from .grounders import DecodedGrounder, Grounder, ProbeGrounder, Reading

TARGETS = {"cells": "cells", "point_cell": "coarse", "point_sub_cell": "fine"}
"""Batch fields and the targets they hold."""
CONTROLS = ("instruction_blind", "linear_probe")


class GroundTask:
    """Decoder with one query and grounding head, beside controls that know less.

    ``instruction_blind``: the same model, which reads Z of a random query of the same frame: it sees the image but
    not what was asked. ``linear_probe``: one linear map on each spatial token.

    Args:
        config: the run's config; sections ``head`` (:class:`GroundingHeadConfig`) and ``objective``
            (:class:`GroundingObjectiveConfig`).
        specs: ``z`` (a query feature with spatial tokens) and, for refinement, ``r`` (a frame feature, a map).

    Raises:
        ConfigError: an unknown key, head or control; features that do not fit together.
    """

    best_by, higher_is_better = "f_0_25", True

    def __init__(self, config: TrainConfig, specs: Mapping[str, FeatureSpec]) -> None:
        self.head = build(GroundingHeadConfig, config.head, source="recipe section `head`")
        self.objective = build(GroundingObjectiveConfig, config.objective, source="recipe section `objective`")
        decoder = sized(config.decoder, why="a grounding head prescribes no size")
        self.config = replace(config, decoder=decoder, head=to_plain(self.head), objective=to_plain(self.objective))
        self.names = ("head", *known_controls(config.controls, CONTROLS))
        self.specs = specs
        self.shapes = grounding_shapes(specs, config.decoder.dim, refine=self.head.refine)

    def examples(self, manifest: DatasetManifest, indexes: Mapping[str, pa.Table]) -> Examples:
        """The manifest's label rows, their rows of Z and R, and their targets.

        Raises:
            ManifestError: no labels, or labels that contradict themselves.
            StoreIncomplete: labels without a store row.
        """
        if manifest.labels is None:
            raise ManifestError(f"the manifest {manifest.name} names no labels", remedy="grounding needs `labels`")
        labels = select_labels(read_labels(manifest.labels), manifest)
        rows = {"z": match_rows(labels, indexes["z"], QUERY, manifest.repo_id)}
        if self.head.refine:
            rows["r"] = match_rows(labels, indexes["r"], FRAME, manifest.repo_id)
        partial = self.config.loader.may_lack_rows
        for name, found in rows.items():
            refuse_absent(labels, found >= 0, name, allow_partial=partial, on=QUERY if name == "z" else FRAME)
        episodes = tuple(sorted(set(labels["episode_index"].to_pylist())))
        present = np.all([found >= 0 for found in rows.values()], axis=0)
        labels = labels.filter(pa.array(present))
        return Examples(
            table=labels,
            rows={name: found[present] for name, found in rows.items()},
            targets=self._targets(labels),
            episodes=episodes,
            left_out=int((~present).sum()),
        )

    def prepare(self, sources: Mapping[str, Source], examples: Examples, train: Int[np.ndarray, " m"]) -> None:
        """Nothing: no contender needs statistics."""

    def fields(self, examples: Examples, seed: int) -> dict[str, Field]:
        """``z`` and ``r`` of each example; ``z_blind``, Z of a random query of the same frame.

        Raises:
            ConfigError: an instruction-blind control on frames that carry one instruction each.
        """
        fields = {name: Field(name, rows) for name, rows in examples.rows.items()}
        if "instruction_blind" in self.names:
            groups = frame_groups(examples.table)
            refuse_single_queries(groups)
            fields["z_blind"] = Field("z", examples.rows["z"], BlindExchange(groups, seed))
        return fields

    def contender(self, name: str) -> Contender:
        """The head or one of its controls, with fresh weights."""
        if name == "linear_probe":
            return Contender(name, ProbeGrounder(LinearProbe(self.shapes.d_vlm, self.shapes.layout)))
        decoder = VisualThoughtDecoder(self.shapes.d_vlm, **to_plain(self.config.decoder))
        model = DecodedGrounder(decoder, registry.load("head", self.head.name)(self.shapes, self.head))
        return Contender(name, model, {"z": "z_blind"} if name == "instruction_blind" else {})

    def terms(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Term]:
        """L_ground (eq. 50) of a training step; the true cell of a positive row is always among the candidates."""
        grounder = cast(Grounder, model)
        forced = step < self.objective.teacher_forcing * self.config.steps
        return self._terms(grounder, grounder.read(batch["z"]), batch, teacher_forced=forced)

    def observe(self, model: nn.Module, batch: Batch) -> Observation:
        """Loss with the true cell inserted, as eq. 49 needs it; prediction from the predicted candidates alone."""
        grounder = cast(Grounder, model)
        reading = grounder.read(batch["z"])
        terms = self._terms(grounder, reading, batch, teacher_forced=False)
        candidates = top_candidates(reading.coarse, grounder.num_candidates)
        found = predict(
            grounder.refine(reading, batch.get("r"), candidates), self.shapes.layout.grid, self.shapes.input_size
        )
        kept = {"coarse": reading.coarse.float(), "cell": found.cell, "sub_cell": found.sub_cell}
        kept |= {name: batch[name] for name in TARGETS}
        return Observation(terms, {name: value.detach().cpu().numpy() for name, value in kept.items()})

    def metrics(self, arrays: Arrays) -> dict[str, float]:
        """Pooled cell metrics (paper, section 3.4) and how often the predicted cell and place are right.

        ``cell_hit_rate``: the predicted cell is a positive one; ``place_hit_rate``: cell and place inside it are the
        true point's; both over positive rows.
        """
        counts = count_cells(arrays["coarse"], arrays["cells"])
        positive = arrays["point_cell"] >= 0  # (n,)
        cell_hit = arrays["cells"][np.arange(len(positive)), arrays["cell"]]
        place_hit = (arrays["cell"] == arrays["point_cell"]) & (arrays["sub_cell"] == arrays["point_sub_cell"])
        return {
            "f_0_25": f_score(counts),
            "precision": precision(counts),
            "recall": recall(counts),
            "tp": float(counts.tp),
            "fp": float(counts.fp),
            "fn": float(counts.fn),
            "false_alarm_rate": negative_false_alarm_rate(arrays["coarse"], arrays["cells"]),
            "cell_hit_rate": _mean(cell_hit[positive]),
            "place_hit_rate": _mean(place_hit[positive]),
        }

    def _terms(self, grounder: Grounder, reading: Reading, batch: Batch, *, teacher_forced: bool) -> dict[str, Term]:
        cell = batch["point_cell"]  # (b,)
        k = grounder.num_candidates
        candidates = choose_candidates(reading.coarse.detach(), cell, k, teacher_forced=teacher_forced)  # (b, k)
        scores = grounder.refine(reading, batch.get("r"), candidates)
        return grounding_terms(
            scores,
            batch["cells"],
            cell,
            batch["point_sub_cell"],
            refined=grounder.refines,
            config=self.objective,
        )

    def _targets(self, labels: pa.Table) -> dict[str, Tensor]:
        fine = self.specs["r"] if self.head.refine else self.specs["z"]
        z = self.specs["z"]
        targets = targets_of(labels, z.image, z.layout.grid, fine.layout.grid)
        return {name: torch.from_numpy(getattr(targets, field)) for name, field in TARGETS.items()}


def grounding_shapes(specs: Mapping[str, FeatureSpec], dim: int, *, refine: bool) -> GroundingShapes:
    """The shapes of a grounding head, read off the specs of ``z`` and ``r``.

    Raises:
        ConfigError: a feature is missing, of another shape, or R was made from differently resized frames than Z.
    """
    refuse_unknown(specs, ("z", "r"))
    z, r = feature(specs, "z", "query", axes=2), feature(specs, "r", "frame", axes=3) if refine else None
    if r is not None and (r.image.resize, r.image.height, r.image.width) != (
        z.image.resize,
        z.image.height,
        z.image.width,
    ):
        raise ConfigError(
            "z and r place the frame differently, so their cells do not lie above each other",
            found=f"r: {r.image.resize} {r.image.height} x {r.image.width}",
            expected=f"z: {z.image.resize} {z.image.height} x {z.image.width}",
        )
    return GroundingShapes(
        dim=dim,
        d_vlm=z.shape[-1],
        layout=z.layout,
        d_fine=r.shape[-1] if r else None,
        fine_grid=r.layout.grid if r else None,
        input_size=(z.image.height, z.image.width),
    )


def _mean(hits: Bool[np.ndarray, " n"]) -> float:
    return float(hits.mean()) if hits.size else float("nan")
