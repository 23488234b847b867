"""What a scene is read from: a loaded run, its open store and its examples."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int, UInt8

from ...pipeline.config import build
from ...pipeline.manifest import DatasetManifest, load_manifest
from ...pipeline.place import Place, parse_place
from ...pipeline.store import FeatureStore
from ...train.inputs import Inputs, readable_rows
from ...train.loaded import LoadedRun, load_run
from ...train.loader import Batch, Loader
from ...train.nonfinite import finite_rows
from ...train.run import split_examples
from ...train.sampling import EVALUATION_SEED, InOrder
from ...train.skipped import admit
from ...train.sources import DiskSource
from ...train.tasks.base import Examples


class FrameSource(Protocol):
    """How scenes get pictures."""

    def __call__(self, episode: int, camera: str, frame: int, /) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of one frame."""


class OpenRun(Protocol):
    """A run whose store is open: what :class:`Opened` is, and a subject of an evaluation too."""

    @property
    def loaded(self) -> LoadedRun:
        """The run."""

    @property
    def inputs(self) -> Inputs:
        """The open store and the manifest."""

    @property
    def examples(self) -> Examples:
        """Every example, in one fixed order."""

    @property
    def splits(self) -> Mapping[str, Int[np.ndarray, " m"]]:
        """Example numbers of every split."""


@dataclass(frozen=True)
class Opened:
    """See :class:`OpenRun`."""

    loaded: LoadedRun
    inputs: Inputs
    examples: Examples
    splits: Mapping[str, Int[np.ndarray, " m"]]


@contextmanager
def open_run(
    run_dir: Path, *, store: Place | None = None, manifest: str | None = None, checkpoint: str = "best"
) -> Iterator[Opened]:
    """Open a run of any task with its store.

    Args:
        run_dir: the run folder.
        store: where its store is now; None is where the run read it.
        manifest: a name or a path; None is the manifest the run was trained with.
        checkpoint: which one.

    Raises:
        ConfigError, WeightsError: no such run or checkpoint, or a damaged one.
        StoreError: the store is gone, incomplete or another one.
        ManifestError: labels that contradict themselves.
    """
    loaded = load_run(run_dir, checkpoint)
    known = {key: value for key, value in loaded.record.manifest.items() if key != "labels_sha256"}
    chosen = load_manifest(manifest) if manifest else build(DatasetManifest, known, source="run.json, manifest")
    opened = FeatureStore.open(parse_place(store or loaded.record.store))
    keys, rules = loaded.features_in(opened), loaded.config.loader
    with ExitStack() as stack:
        readers = {name: stack.enter_context(opened.reader(key, allow_partial=True)) for name, key in keys.items()}
        indexes = {
            name: finite_rows(readers[name], readable_rows(opened, key, readers[name]), allow_nan=rules.allow_nan)
            for name, key in keys.items()
        }
        chosen = admit(
            opened,
            {key: indexes[name] for name, key in keys.items()},
            chosen,
            allow_partial=rules.allow_partial,
            allow_skipped=rules.allow_skipped,
        )
        examples = loaded.task.examples(chosen, indexes)
        inputs = Inputs(opened, keys, readers, indexes, chosen)
        yield Opened(loaded, inputs, examples, split_examples(chosen, examples, loaded.config))


def read_batch(run: OpenRun, numbers: Int[np.ndarray, " m"]) -> Batch:
    """The fields of a few examples, as the head reads them, in the order asked for. Raises the store's errors."""
    plan = InOrder(numbers, max(1, len(numbers)))
    fields = run.loaded.task.fields(run.examples, EVALUATION_SEED)
    loader = Loader(
        {name: DiskSource(reader) for name, reader in run.inputs.readers.items()},
        {name: field for name, field in fields.items() if name in run.inputs.readers},
        run.examples.targets,
        plan,
        range(len(plan)),
        batch_size=max(1, len(numbers)),
        threads=1,
        device=next(_tensors(run.loaded), torch.empty(0)).device,
    )
    with loader:
        return next({name: value.clone() for name, value in loaded.batch.items()} for loaded in loader)


def choose_frames(run: OpenRun, split: str, count: int) -> Int[np.ndarray, " k"]:
    """Example numbers spread over a split, by a rule that looks at no prediction.

    From evenly spaced episodes the middle frame of one camera, cameras taking turns; fewer where the split has fewer
    episodes. The rule in words is :data:`RULE`.
    """
    numbers = run.splits[split]
    table = run.examples.table
    episode, frame = (table[name].to_numpy()[numbers] for name in ("episode_index", "frame_index"))
    camera = np.array(table["camera"].to_pylist(), dtype=object)[numbers]
    episodes, cameras = np.unique(episode), sorted(set(camera))
    spaced = episodes[np.unique(np.linspace(0, len(episodes) - 1, min(count, len(episodes))).round().astype(int))]
    chosen = []
    for turn, one in enumerate(spaced):
        seen = [cameras[(turn + shift) % len(cameras)] for shift in range(len(cameras))]
        own = next(rows for name in seen if len(rows := np.flatnonzero((episode == one) & (camera == name))))
        own = own[np.argsort(frame[own], kind="stable")]
        chosen.append(numbers[own[(len(own) - 1) // 2]])
    return np.array(chosen, dtype=np.int64)


RULE = "evenly spaced episodes, of each the middle frame, cameras in turn; no prediction was looked at"


def placed(run: OpenRun, number: int) -> tuple[int, str, int]:
    """Episode, camera and frame index of an example."""
    row = {name: run.examples.table[name][number].as_py() for name in ("episode_index", "camera", "frame_index")}
    return row["episode_index"], row["camera"], row["frame_index"]


def _tensors(loaded: LoadedRun) -> Iterator[torch.Tensor]:
    yield from loaded.model.parameters()
    yield from loaded.model.buffers()
