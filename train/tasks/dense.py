"""Dense map reconstruction (paper, section 2.2.2): a teacher's maps of a frame, read out of the VLM's tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...pipeline.config import build, to_plain
from ...pipeline.datasets.corners import corners_beside, read_corners, visible_corners
from ...pipeline.datasets.instructions import frame_sizes
from ...pipeline.datasets.labels import read_labels
from ...pipeline.errors import ConfigError
from ...pipeline.manifest import DatasetManifest
from ...pipeline.spec import FeatureSpec
from ..config import TrainConfig
from ..decoder import VisualThoughtDecoder
from ..frames import frame_examples, stand_ins
from ..heads.dense import DenseHead, DenseHeadConfig, upsample
from ..heads.probe import ResampledProbe
from ..loader import Batch, Field
from ..objectives.dense import DenseObjectiveConfig, dense_terms, map_errors
from ..objectives.terms import Term
from ..sources import Source
from ..statistics import MeanTable, TargetStatistics, measure
from .base import Arrays, Contender, Examples, Observation
from .checks import feature, known_controls, refuse_unknown, sized
from .corners import COUNTS, CornerDecoder, corner_metrics, count_corners
from .distill import blind

FEATURES = ("z", "y")
CONTROLS = ("target_mean", "linear_probe", "instruction_blind")
CHANNELS = ("sin", "cos", "radius", "dx", "dy", "unsupervised")  # CeDiRNet's
CHUNK_NUMBERS = 1 << 22  # map values that a validation holds at once, beside the batch itself


class GridReader(nn.Module):
    """Decoder and dense head up to the token grid (paper, eq. 10-18 and 28-30)."""

    def __init__(self, decoder: VisualThoughtDecoder, head: DenseHead) -> None:
        super().__init__()
        self.decoder, self.head = decoder, head

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b c hg wg"]:
        """z (b, tokens, d_vlm) -> maps on the token grid."""
        return self.head.on_grid(self.decoder(z))


class Mapper(nn.Module):
    """What reads Z, and the size its maps are interpolated to.

    Args:
        reader: Z to maps of any size.
        size: rows and columns of the teacher's maps as they are stored.
    """

    def __init__(self, reader: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.reader, self.size = reader, size

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b c h w"]:
        """z (b, tokens, d_vlm) -> Ŷ (b, channels, rows, columns)."""
        return upsample(self.read(z), self.size)

    def read(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b c hg wg"]:
        """The maps before they are interpolated."""
        return cast(Tensor, self.reader(z))


class DenseTask:
    """One query a cell of the grid, the dense head, and corners decoded from what it predicts.

    ``target_mean``: the mean training map. ``linear_probe``: one linear map on each spatial token, resampled.
    ``instruction_blind``: the same model, which reads Z of a random query of the frame.

    Args:
        config: the run's config; sections ``head`` (:class:`DenseHeadConfig`) and ``objective``
            (:class:`DenseObjectiveConfig`).
        specs: ``z`` (a query feature with spatial tokens) and ``y`` (a frame feature of maps, channels first).

    Raises:
        ConfigError: an unknown key or control, or features that do not fit.
    """

    best_by, higher_is_better = "mse", False

    def __init__(self, config: TrainConfig, specs: Mapping[str, FeatureSpec]) -> None:
        refuse_unknown(specs, FEATURES)
        self.z, self.y = feature(specs, "z", "query", axes=2), feature(specs, "y", "frame", axes=3)
        self.head = build(DenseHeadConfig, config.head, source="recipe section `head`")
        self.objective = build(DenseObjectiveConfig, config.objective, source="recipe section `objective`")
        rows, columns = self.head.grid
        decoder = sized(
            config.decoder,
            num_queries=rows * columns,
            grid=self.head.grid,
            why=f"the head's grid is {rows} x {columns}",
        )
        sections = {"head": to_plain(self.head), "objective": to_plain(self.objective)}
        self.config = replace(config, decoder=decoder, **sections)
        self.names = ("head", *known_controls(config.controls, CONTROLS))
        self.specs, self.corners = specs, CornerDecoder(self.y, self.objective.corner_score)
        self.judges_corners = self.corners.works and self.objective.corner_px > 0
        self._known: TargetStatistics | None = None

    def examples(self, manifest: DatasetManifest, indexes: Mapping[str, pa.Table]) -> Examples:
        """Every frame that has Y, with Z of its own instruction; for corners, frame sizes and what is true of them.

        Raises:
            ConfigError: nobody says how large the frames are.
        """
        examples = frame_examples(manifest, indexes, "y", may_lack_rows=self.config.loader.may_lack_rows)
        if not self.judges_corners:
            return examples
        targets = {"frame_size": torch.from_numpy(self._frame_sizes(manifest, examples.table))}
        path = corners_beside(manifest.labels)
        if path is not None:
            targets["corners"] = torch.from_numpy(visible_corners(read_corners(path), examples.table))
        return replace(examples, targets=targets)

    def fields(self, examples: Examples, seed: int) -> dict[str, Field]:
        """``z`` and ``y`` of each frame; ``z_blind``, Z of a random query of the frame."""
        fields = {name: Field(name, rows) for name, rows in examples.rows.items()}
        if "instruction_blind" in self.names and examples.queries is not None:
            fields["z_blind"] = Field("z", stand_ins(examples.queries, seed))
        return fields

    def prepare(self, sources: Mapping[str, Source], examples: Examples, train: Int[np.ndarray, " m"]) -> None:
        """The mean map of the training frames, if a control needs it."""
        if "target_mean" in self.names:
            self._known = measure(sources["y"], examples.rows["y"][train])

    def contender(self, name: str) -> Contender:
        """The model or one of its controls, with fresh weights."""
        return Contender(name, Mapper(self._reader(name), self.y.layout.grid), blind(name))

    def terms(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Term]:  # noqa: ARG002 the interface's
        """L_dense (eq. 32) of a training step."""
        mapper = cast(Mapper, model)
        return dense_terms(upsample(mapper.read(batch["z"]).float(), mapper.size), batch["y"])

    def observe(self, model: nn.Module, batch: Batch) -> Observation:
        """The loss, errors by channel and corner counts; maps of full size exist for a few images at a time."""
        mapper = cast(Mapper, model)
        coarse = mapper.read(batch["z"]).float()  # (b, c, hg, wg)
        errors, counts = [], []
        for part in self._chunks(len(coarse)):
            predicted, y = upsample(coarse[part], mapper.size), batch["y"][part]
            errors.append(map_errors(predicted, y))  # (n, c)
            if self.judges_corners:
                counts += self._count(predicted, y, {name: batch[name][part] for name in self._facts(batch)})
        squares = torch.cat(errors)
        arrays = {"errors": squares.double().cpu().numpy()}
        arrays |= {name: np.array([one[name] for one in counts]) for name in COUNTS if counts and name in counts[0]}
        return Observation({"squared_error": Term.mean(squares.mean(dim=1))}, arrays)

    def metrics(self, arrays: Arrays) -> dict[str, float]:
        """``mse`` (eq. 32), by channel too, and how well corners are found; see :func:`~.corners.corner_metrics`."""
        by_channel = arrays["errors"].mean(axis=0)
        metrics = {"mse": float(by_channel.mean())}
        numbers = self.y.compute.get("channels", range(len(by_channel)))
        known = "channels" in self.y.compute
        for number, error in zip(numbers, by_channel, strict=True):
            metrics[f"mse_{CHANNELS[number] if known else number}"] = float(error)
        if not self.judges_corners:
            return metrics
        sums = {name: float(arrays[name].sum()) for name in COUNTS if name in arrays}
        return metrics | corner_metrics(sums, turns=self.corners.turns)

    def _chunks(self, count: int) -> Iterator[slice]:
        pixels = max(self.y.layout.cells, self.y.image.height * self.y.image.width)
        size = max(1, CHUNK_NUMBERS // (pixels * self.y.shape[0]))
        return (slice(start, start + size) for start in range(0, count, size))

    def _facts(self, batch: Batch) -> tuple[str, ...]:
        return tuple(name for name in ("frame_size", "corners") if name in batch)

    def _count(
        self, predicted: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], facts: Mapping[str, Tensor]
    ) -> list[dict[str, float]]:
        sizes = facts["frame_size"].cpu().numpy()
        true = facts["corners"].cpu().numpy() if "corners" in facts else [None] * len(sizes)
        pairs = zip(self.corners(predicted, sizes), self.corners(y, sizes), true, strict=True)
        within = self.objective.corner_px
        return [count_corners(found, teacher, there, within_px=within) for found, teacher, there in pairs]

    def _reader(self, name: str) -> nn.Module:
        if name == "target_mean":
            return MeanTable(self.y, self._known)
        width, channels = self.z.shape[1], self.y.shape[0]
        if name == "linear_probe":
            return ResampledProbe(width, self.z.layout, channels, self.head.grid)
        decoder = VisualThoughtDecoder(width, **to_plain(self.config.decoder))
        return GridReader(decoder, DenseHead(self.config.decoder.dim, channels, self.head.grid))

    def _frame_sizes(self, manifest: DatasetManifest, frames: pa.Table) -> Int[np.ndarray, "n 2"]:
        """(height, width) of every example's frame."""
        cameras = frames["camera"].to_pylist()
        if self.objective.frame_size is not None:
            return np.tile(np.array(self.objective.frame_size, np.int64), (len(cameras), 1))
        known = dict(frame_sizes(manifest))
        if manifest.labels is not None and not set(cameras) <= set(known):
            labels = read_labels(manifest.labels).select(["camera", "mask_height", "mask_width"])
            sizes = (row.values() for row in labels.group_by(labels.column_names).aggregate([]).to_pylist())
            known |= {camera: (height, width) for camera, height, width in sizes if height is not None}
        unknown = sorted(set(cameras) - set(known))
        if unknown:
            raise ConfigError(
                "nobody says how large the original frames are, so that no distance between corners can be measured",
                found=f"no size for the cameras {', '.join(unknown)}",
                remedy="set `root` in the manifest, or objective.frame_size=[480,640]; corner_px=0 needs neither",
            )
        return np.array([known[camera] for camera in cameras], dtype=np.int64)
