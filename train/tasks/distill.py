"""Expert feature distillation (paper, section 2.2.1): an expert's tokens of a frame, read out of the VLM's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pyarrow as pa
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...pipeline.config import build, to_plain
from ...pipeline.manifest import DatasetManifest
from ...pipeline.spec import FeatureSpec
from ..config import TrainConfig
from ..decoder import VisualThoughtDecoder
from ..frames import frame_examples, stand_ins
from ..heads.probe import TokenProbe
from ..loader import Batch, Field
from ..objectives.distill import DistillObjectiveConfig, distill_terms
from ..objectives.terms import Term
from ..sources import Source
from ..statistics import MeanTable, TargetScale, TargetStatistics, measure
from .base import Arrays, Contender, Examples, Observation
from .checks import feature, known_controls, refuse_section, refuse_unknown, sized

FEATURES = ("z", "e")
CONTROLS = ("target_mean", "linear_probe", "instruction_blind")


class Distiller(nn.Module):
    """What reads Z, and the scale of what it reads off: T is trained against scaled targets, Ê is in the expert's unit.

    Args:
        reader: Z to scaled tokens.
        scale: of the targets.
    """

    def __init__(self, reader: nn.Module, scale: TargetScale) -> None:
        super().__init__()
        self.reader, self.scale = reader, scale

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b m d"]:
        """z (b, tokens, d_vlm) -> the expert's tokens (b, M, D) as predicted."""
        return self.scale.restore(self.read(z))

    def read(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b m d"]:
        """T (b, M, D), in the unit of the objective."""
        return cast(Tensor, self.reader(z))


class DistillTask:
    """One query a token of the expert, whose width is the expert's; no head.

    ``target_mean``: the mean training target at every position. ``linear_probe``: one linear map on each spatial token,
    resampled to the expert's grid. ``instruction_blind``: the same decoder, which reads Z of a random query of the
    frame.

    Args:
        config: the run's config; section ``objective`` is :class:`DistillObjectiveConfig`, ``head`` is empty.
        specs: ``z`` (a query feature with spatial tokens) and ``e`` (a frame feature of tokens).

    Raises:
        ConfigError: an unknown key or control, or features that do not fit.
    """

    best_by, higher_is_better = "mse", False

    def __init__(self, config: TrainConfig, specs: Mapping[str, FeatureSpec]) -> None:
        refuse_section(config.head, "head")
        refuse_unknown(specs, FEATURES)
        self.z, self.e = feature(specs, "z", "query", axes=2), feature(specs, "e", "frame", axes=2)
        self.objective = build(DistillObjectiveConfig, config.objective, source="recipe section `objective`")
        tokens, dim = self.e.shape
        why = f"{self.e.key} has {tokens} tokens of {dim} channels"
        decoder = sized(config.decoder, num_queries=tokens, dim=dim, grid=self.e.layout.grid, why=why)
        self.config = replace(config, decoder=decoder, objective=to_plain(self.objective))
        self.names = ("head", *known_controls(config.controls, CONTROLS))
        self.specs = specs
        self._known: TargetStatistics | None = None

    def examples(self, manifest: DatasetManifest, indexes: Mapping[str, pa.Table]) -> Examples:
        """Every frame that has E, with Z of its own instruction; see :func:`~..frames.frame_examples`."""
        return frame_examples(manifest, indexes, "e", may_lack_rows=self.config.loader.may_lack_rows)

    def fields(self, examples: Examples, seed: int) -> dict[str, Field]:
        """``z`` and ``e`` of each frame; ``z_blind``, Z of a random query of the frame."""
        fields = {name: Field(name, rows) for name, rows in examples.rows.items()}
        if "instruction_blind" in self.names and examples.queries is not None:
            fields["z_blind"] = Field("z", stand_ins(examples.queries, seed))
        return fields

    def prepare(self, sources: Mapping[str, Source], examples: Examples, train: Int[np.ndarray, " m"]) -> None:
        """Mean and variance of the training frames' E, if the objective or a control needs them."""
        if self.objective.normalise != "none" or "target_mean" in self.names:
            self._known = measure(sources["e"], examples.rows["e"][train])

    def contender(self, name: str) -> Contender:
        """The decoder or one of its controls, with fresh weights."""
        scale = TargetScale(self.e, self.objective.normalise, channels=1, known=self._known)
        return Contender(name, Distiller(self._reader(name, scale), scale), blind(name))

    def terms(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Term]:  # noqa: ARG002 the interface's
        """L_feat (eq. 22) of a training step, or what the recipe puts beside it or in its place."""
        distiller = cast(Distiller, model)
        return self._terms(distiller, distiller.read(batch["z"]).float(), batch)

    def observe(self, model: nn.Module, batch: Batch) -> Observation:
        """The objective's terms, and sums from which the metrics follow, in the expert's own unit."""
        distiller, e = cast(Distiller, model), batch["e"]
        t = distiller.read(batch["z"]).float()
        found = distiller.scale.restore(t)
        kept = {
            "squares": (found - e).double().square().sum(dim=(1, 2)),
            "energy": e.double().square().sum(dim=(1, 2)),
            "total": e.double().sum(dim=1),
            "cosine": F.cosine_similarity(found, e, dim=2).mean(dim=1),
        }
        arrays = {name: value.detach().cpu().numpy() for name, value in kept.items()}
        return Observation(self._terms(distiller, t, batch), arrays)

    def metrics(self, arrays: Arrays) -> dict[str, float]:
        """``mse`` (eq. 22), ``r2`` and the mean ``cosine`` of a token with its expert's.

        R² = 1 - Σ (Ê - E)² / Σ (E - E̅_d)²,  E̅_d the mean of channel d over this split's rows and tokens.
        """
        tokens, dim = self.e.shape
        rows = len(arrays["squares"])
        mean = arrays["total"].sum(axis=0) / (rows * tokens)
        spread = arrays["energy"].sum() - rows * tokens * np.square(mean).sum()
        squares = arrays["squares"].sum()
        return {
            "mse": float(squares / (rows * tokens * dim)),
            "r2": float(1.0 - squares / spread) if spread > 0 else float("nan"),
            "cosine": float(arrays["cosine"].mean()),
        }

    def _terms(self, distiller: Distiller, t: Float[Tensor, "b m d"], batch: Batch) -> dict[str, Term]:
        return distill_terms(t, distiller.scale(batch["e"]), self.objective)

    def _reader(self, name: str, scale: TargetScale) -> nn.Module:
        if name == "target_mean":
            return MeanTable(self.e, self._known, scale)
        width = self.z.shape[1]
        if name == "linear_probe":
            return TokenProbe(width, self.z.layout, self.e.shape[1], self.e.layout)
        return VisualThoughtDecoder(width, **to_plain(self.config.decoder))


def blind(name: str) -> Mapping[str, str]:
    """What the instruction-blind control reads in place of Z; nothing for any other contender."""
    return {"z": "z_blind"} if name == "instruction_blind" else {}
