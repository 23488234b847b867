"""Which frames of a split are shown, and what the head reads of them."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int

from ...train.loaded import LoadedRun
from ...train.loader import Batch, Loader
from ...train.sampling import EVALUATION_SEED, InOrder
from ...train.sources import DiskSource
from ..subject import Subject


def read_batch(subject: Subject, numbers: Int[np.ndarray, " m"]) -> Batch:
    """The fields of a few examples, as the head reads them, in the order asked for. Raises the store's errors."""
    plan = InOrder(numbers, max(1, len(numbers)))
    fields = subject.loaded.task.fields(subject.examples, EVALUATION_SEED)
    loader = Loader(
        {name: DiskSource(reader) for name, reader in subject.inputs.readers.items()},
        {name: field for name, field in fields.items() if name in subject.inputs.readers},
        subject.examples.targets,
        plan,
        range(len(plan)),
        batch_size=max(1, len(numbers)),
        threads=1,
        device=next(_tensors(subject.loaded), torch.empty(0)).device,
    )
    with loader:
        return next({name: value.clone() for name, value in loaded.batch.items()} for loaded in loader)


def choose_frames(subject: Subject, split: str, count: int) -> Int[np.ndarray, " k"]:
    """Example numbers spread over a split, by a rule that looks at no prediction.

    From evenly spaced episodes the middle frame of one camera, cameras taking turns; fewer where the split has fewer
    episodes. The rule in words is :data:`RULE`.
    """
    numbers = subject.splits[split]
    table = subject.examples.table
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


def placed(subject: Subject, number: int) -> tuple[int, str, int]:
    """Episode, camera and frame index of an example."""
    row = {name: subject.examples.table[name][number].as_py() for name in ("episode_index", "camera", "frame_index")}
    return row["episode_index"], row["camera"], row["frame_index"]


def _tensors(loaded: LoadedRun) -> Iterator[torch.Tensor]:
    yield from loaded.model.parameters()
    yield from loaded.model.buffers()
