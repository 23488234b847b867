"""A finished run beside the rows it is judged on: the run folder, the store's features and the labels."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from ..pipeline.config import build
from ..pipeline.datasets.masks import decode_rle
from ..pipeline.datasets.targets import targets_of
from ..pipeline.errors import ConfigError, ManifestError
from ..pipeline.geometry import FrameGeometry
from ..pipeline.manifest import DatasetManifest, load_manifest
from ..pipeline.place import parse_place
from ..pipeline.record import RunRecord
from ..pipeline.store import FeatureStore
from ..train.inputs import Inputs, readable_rows
from ..train.loaded import LoadedRun, load_run
from ..train.nonfinite import finite_rows
from ..train.run import pick_device, split_examples
from ..train.skipped import admit
from ..train.tasks.base import Examples
from ..train.tasks.ground import GroundTask
from .config import EvalConfig
from .rows import LabelledRows


@dataclass(frozen=True)
class Subject:
    """One run, ready to be judged.

    Args:
        loaded: the run's models and record.
        task: its task.
        inputs: the open store and the manifest.
        examples: every labelled query that has store rows, in one fixed order.
        rows: the same as plain arrays.
        splits: example numbers of ``train``, ``val`` and ``test``.
        notes: what differs from the time of training.
    """

    loaded: LoadedRun
    task: GroundTask
    inputs: Inputs
    examples: Examples
    rows: LabelledRows
    splits: Mapping[str, Int[np.ndarray, " m"]]
    notes: tuple[str, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the coarse grid."""
        return self.task.shapes.layout.grid

    @property
    def fine_grid(self) -> tuple[int, int]:
        """Rows and columns of the refinement's grid; the coarse grid without refinement."""
        return self.task.shapes.fine_grid or self.grid


@contextmanager
def open_subject(config: EvalConfig, run_dir: Path) -> Iterator[Subject]:
    """Open a run folder, its store and its labels.

    Raises:
        ConfigError: no run, no such checkpoint, or a task that is not judged here.
        WeightsError: the checkpoint is damaged.
        StoreError: the store is gone or incomplete; StoreMismatch, field by field, if its features are others.
        ManifestError: labels that contradict themselves, an empty split, or a split that the run trained on.
    """
    loaded = load_run(run_dir, config.checkpoint, device=str(pick_device(config.device)))
    if not isinstance(loaded.task, GroundTask):
        raise ConfigError(f"{run_dir} cannot be evaluated", found=f"task {loaded.config.task}", expected="task ground")
    manifest = _manifest(config, loaded.record)
    store = FeatureStore.open(parse_place(config.store or loaded.record.store, cache=config.store_cache))
    keys = loaded.features_in(store)
    with ExitStack() as stack:
        readers = {name: stack.enter_context(store.reader(key, allow_partial=True)) for name, key in keys.items()}
        loader = loaded.config.loader
        indexes = {
            name: finite_rows(readers[name], readable_rows(store, key, readers[name]), allow_nan=loader.allow_nan)
            for name, key in keys.items()
        }
        rows_of = {key: indexes[name] for name, key in keys.items()}
        manifest = admit(
            store, rows_of, manifest, allow_partial=loader.allow_partial, allow_skipped=loader.allow_skipped
        )
        examples = loaded.task.examples(manifest, indexes)
        splits = split_examples(manifest, examples, loaded.config)
        _refuse_split(config.split, splits, examples, loaded.record)
        rows = labelled_rows(examples.table, loaded.task)
        inputs = Inputs(store, keys, readers, indexes, manifest)
        notes = tuple(_notes(manifest, examples, loaded.record))
        yield Subject(loaded, loaded.task, inputs, examples, rows, splits, notes)


def labelled_rows(labels: pa.Table, task: GroundTask) -> LabelledRows:
    """Label rows as plain arrays, with the targets that the task's grids give them."""
    image, grid = task.specs["z"].image, task.shapes.layout.grid
    targets = targets_of(labels, image, grid, task.shapes.fine_grid or grid)
    texts = {name: tuple(labels[name].to_pylist()) for name in ("camera", "instruction", "target", "phase")}
    masks, heights, widths = (labels[name].to_pylist() for name in ("mask", "mask_height", "mask_width"))

    def region(row: int) -> Bool[np.ndarray, "h w"] | None:
        return None if masks[row] is None else decode_rle(masks[row], heights[row], widths[row])

    sizes = zip(texts["camera"], heights, widths, strict=True)
    return LabelledRows(
        episode=labels["episode_index"].to_numpy(),
        frame=labels["frame_index"].to_numpy(),
        **texts,
        cells=targets.cells,
        points=targets.point,
        region=region,
        geometry={camera: FrameGeometry.of(image, h, w) for camera, h, w in sizes if h is not None},
    )


def _manifest(config: EvalConfig, record: RunRecord) -> DatasetManifest:
    """The manifest as it was when the run was trained, unless another one is given."""
    if config.manifest is not None:
        manifest = load_manifest(config.manifest)
    else:
        known = {key: value for key, value in record.manifest.items() if key != "labels_sha256"}
        manifest = build(DatasetManifest, known, source="run.json, manifest")
    return replace(manifest, root=config.root) if config.root else manifest


def _refuse_split(
    split: str, splits: Mapping[str, Int[np.ndarray, " m"]], examples: Examples, record: RunRecord
) -> None:
    """ManifestError for an empty split, or a test split with episodes that the run was trained or chosen on."""
    if not len(splits[split]):
        raise ManifestError(
            f"the split `{split}` holds no example",
            found={name: len(found) for name, found in splits.items() if name != "train_eval"},
            remedy="evaluate another split, or label and extract episodes of this one",
        )
    if split != "test":
        return
    tested = set(examples.table["episode_index"].to_numpy()[splits[split]].tolist())
    for other in ("train", "val"):
        shared = sorted(tested & set(record.splits[other]["episodes"]))
        if shared:
            raise ManifestError(
                f"the test split holds episodes that were in the run's {other} split",
                found=shared,
                expected="episodes that the run has never seen",
                remedy="evaluate with the manifest the run was trained with",
            )


def _notes(manifest: DatasetManifest, examples: Examples, record: RunRecord) -> Iterator[str]:
    if examples.left_out:
        yield f"{examples.left_out} labelled rows are not in the store and were left out"
    if manifest.labels is not None:
        found = hashlib.sha256(manifest.labels.read_bytes()).hexdigest()
        if found != record.manifest["labels_sha256"]:
            yield f"the labels {manifest.labels} are not the ones the run was trained on"
