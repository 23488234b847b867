"""Recording a SIMULATED set: episodes are drawn side by side, and LeRobot's own writer keeps them in order.

What is recorded is a :class:`Subject`; labels, the manifest and the rule that nothing is half-written are the same for
every one of them.
"""

import logging
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8
from numpy import ndarray
from tqdm import tqdm

from ...errors import ConfigError
from ...manifest import DatasetManifest, ListedSplits, dump_manifest
from ...processes import process_pool
from .checkpoints import CAMERAS

FPS = 15
SHARES = (0.7, 0.1, 0.2)  # of the episodes: train, val, test
AHEAD = 4  # episodes a worker that may be rendered before the writer has come to them
ABSENT_EVERY = 8  # in every eighth episode what the instruction names is not there
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

Row = dict[str, Any]


@dataclass(frozen=True)
class WorldConfig:
    """One generated set.

    Args:
        out: a new directory: ``dataset/``, ``labels.parquet`` and the set's manifest go there.
        episodes: at least 3 (one a split).
        frames: of every episode, at 15 a second; at least 12.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        seed: of everything drawn; episode k depends on (seed, k) alone.
        workers: processes that render; 0 renders in this one.
        progress: show a bar on stderr.
    """

    out: Path
    episodes: int = 40
    frames: int = 40
    width: int = 320
    height: int = 240
    seed: int = 0
    workers: int = 2
    progress: bool = True


@dataclass(frozen=True)
class Recording:
    """One rendered episode: frames per camera (t, h, w, 3), states and actions (t, 6), the task and its label rows.

    ``facts`` are further rows of ground truth, in the columns of the subject's own table.
    """

    frames: dict[str, UInt8[ndarray, "t h w 3"]]
    states: Float32[ndarray, "t 6"]
    actions: Float32[ndarray, "t 6"]
    task: str
    labels: list[Row]
    facts: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """What a set shows.

    Args:
        name: of the set; its manifest is ``<name>.yaml``.
        record: draws, acts and renders one episode by its number.
        table: file name and schema of the table that holds every recording's ``facts``, or None.
    """

    name: str
    record: Callable[[WorldConfig, int], Recording]
    table: tuple[str, pa.Schema] | None = None


def write_world(subject: Subject, config: WorldConfig) -> DatasetManifest:
    """Generate a set; nothing appears under ``config.out`` until all of it is there.

    Returns:
        the manifest that ``config.out / "<subject>.yaml"`` holds.

    Raises:
        ConfigError: the directory exists, or a size is out of range.
    """
    _check(config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = config.out.parent / f".{config.out.name}.{uuid.uuid4().hex[:8]}.partial"
    unfinished.mkdir()
    try:
        labels, facts = _write_dataset(unfinished / "dataset", subject, config)
        _write_labels(unfinished / "labels.parquet", labels)
        if subject.table:
            name, schema = subject.table
            pq.write_table(pa.Table.from_pylist(facts, schema=schema), unfinished / name)
        dump_manifest(_manifest(subject, unfinished, config.episodes), unfinished / f"{subject.name}.yaml")
        os.rename(unfinished, config.out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _manifest(subject, config.out, config.episodes)


def list_splits(episodes: int) -> ListedSplits:
    """Whole episodes: the first 70% train, the next 10% validate (at least one), the rest test."""
    val = max(1, round(SHARES[1] * episodes))
    test = max(1, round(SHARES[2] * episodes))
    ends = (episodes - val - test, episodes - test)
    return ListedSplits(train=tuple(range(ends[0])), val=tuple(range(*ends)), test=tuple(range(ends[1], episodes)))


def _write_dataset(root: Path, subject: Subject, config: WorldConfig) -> tuple[list[Row], list[Row]]:
    """LeRobot's writer, one episode after another, while other processes render the next ones."""
    labels: list[Row] = []
    facts: list[Row] = []
    with _recordings(subject, config) as recordings:
        dataset = _create(root, subject, config)
        bar = tqdm(recordings, total=config.episodes, desc="world", unit="episode", disable=not config.progress)
        for recording in bar:
            for t in range(config.frames):
                images = {f"observation.images.{name}": frames[t] for name, frames in recording.frames.items()}
                numbers = {"observation.state": recording.states[t], "action": recording.actions[t]}
                dataset.add_frame(images | numbers | {"task": recording.task})
            dataset.save_episode(parallel_encoding=False)
            labels += recording.labels
            facts += recording.facts
        dataset.finalize()
    return labels, facts


@contextmanager
def _recordings(subject: Subject, config: WorldConfig) -> Iterator[Iterator[Recording]]:
    if not config.workers:
        yield (subject.record(config, number) for number in range(config.episodes))
        return
    with process_pool(config.workers) as pool:
        try:
            yield in_order(pool, subject, config)
        finally:
            pool.shutdown(cancel_futures=True)


def in_order(pool: Executor, subject: Subject, config: WorldConfig) -> Iterator[Recording]:
    """Recordings by number, rendered at most ``AHEAD`` a worker before they are asked for."""
    started = (pool.submit(subject.record, config, number) for number in range(config.episodes))
    waiting = deque(islice(started, AHEAD * config.workers))
    while waiting:
        recording = waiting.popleft().result()
        waiting.extend(islice(started, 1))
        yield recording


def _create(root: Path, subject: Subject, config: WorldConfig) -> Any:
    import av
    import datasets

    logging.getLogger("lerobot.utils.import_utils").setLevel(logging.ERROR)  # PyAV serves where torchcodec does not
    logging.getLogger("libav").setLevel(logging.ERROR)
    av.logging.set_libav_level(av.logging.ERROR)
    from lerobot.configs.video import RGBEncoderConfig
    from lerobot.datasets import LeRobotDataset

    datasets.disable_progress_bars()

    image = {"dtype": "video", "shape": (config.height, config.width, 3), "names": ["height", "width", "channels"]}
    numbers = {"dtype": "float32", "shape": (len(JOINTS),), "names": list(JOINTS)}
    return LeRobotDataset.create(
        f"visual-thought/{subject.name}",
        FPS,
        {f"observation.images.{name}": dict(image) for name in CAMERAS}
        | {"observation.state": dict(numbers), "action": dict(numbers)},
        root=root,
        robot_type="simulated_five_joint_arm",
        use_videos=True,
        streaming_encoding=True,
        encoder_queue_maxsize=config.frames + 1,  # a full queue drops frames: on a busy machine the default did
        rgb_encoder=RGBEncoderConfig(vcodec="libsvtav1"),
    )


def _write_labels(path: Path, rows: list[Row]) -> None:
    from ..labels import LABEL_SCHEMA, write_labels

    write_labels(path, pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))


def _manifest(subject: Subject, out: Path, episodes: int) -> DatasetManifest:
    made = DatasetManifest(
        name=subject.name,
        repo_id=f"visual-thought/{subject.name}",
        cameras=CAMERAS,
        splits=list_splits(episodes),
        licence="Apache-2.0",
        simulated=True,
    )
    return replace(made, root=out.absolute() / "dataset", labels=out.absolute() / "labels.parquet")


def _check(config: WorldConfig) -> None:
    if config.out.exists():
        raise ConfigError(f"{config.out} exists already", expected="a new directory", remedy="choose another --out")
    for name, value, least in (
        ("episodes", config.episodes, 3),
        ("frames", config.frames, 12),
        ("width", config.width, 64),
        ("height", config.height, 48),
    ):
        if value < least or (name in ("width", "height") and value % 2):
            kind = "an even number" if name in ("width", "height") else "a number"
            raise ConfigError(f"--{name} is out of range", found=value, expected=f"{kind} of at least {least}")
