"""``tabletop_cubes``: the SIMULATED cube set, written by LeRobot's own writer, with its labels and its manifest."""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from ...errors import ConfigError
from ...manifest import DatasetManifest, ListedSplits, dump_manifest
from .checkpoints import CAMERAS
from .episode import Episode, draw_episode
from .language import COLOURS, instruction
from .render import draw_backdrop, render
from .truth import label_rows

NAME = "tabletop_cubes"
REPO_ID = f"visual-thought/{NAME}"
FPS = 15
SHARES = (0.7, 0.1, 0.2)  # of the episodes: train, val, test
ABSENT_EVERY = 8  # in every eighth episode the instructed cube is not there
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@dataclass(frozen=True)
class CubesConfig:
    """One generated set.

    Args:
        out: a new directory: ``dataset/``, ``labels.parquet`` and ``tabletop_cubes.yaml`` go there.
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
    """One rendered episode: frames per camera (t, h, w, 3), states and actions (t, 6), the task and its label rows."""

    frames: dict[str, UInt8[np.ndarray, "t h w 3"]]
    states: Float32[np.ndarray, "t 6"]
    actions: Float32[np.ndarray, "t 6"]
    task: str
    labels: list[dict[str, Any]]


def write_cubes(config: CubesConfig) -> DatasetManifest:
    """Generate the set; nothing appears under ``config.out`` until all of it is there.

    Returns:
        the manifest that ``config.out / "tabletop_cubes.yaml"`` holds.

    Raises:
        ConfigError: the directory exists, or a size is out of range.
    """
    _check(config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    partial = config.out.parent / f".{config.out.name}.{uuid.uuid4().hex[:8]}.partial"
    partial.mkdir()
    try:
        rows = _write_dataset(partial / "dataset", config)
        _write_labels(partial / "labels.parquet", rows)
        dump_manifest(_manifest(partial, config.episodes), partial / f"{NAME}.yaml")
        os.rename(partial, config.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _manifest(config.out, config.episodes)


def record_episode(config: CubesConfig, number: int) -> Recording:
    """Draw, act and render episode ``number``; the same (seed, number, sizes) give the same bits."""
    rng = np.random.default_rng([config.seed, number])
    colour = COLOURS[number % len(COLOURS)]
    present = number % ABSENT_EVERY != ABSENT_EVERY - 1
    episode = draw_episode(
        rng, frames=config.frames, height=config.height, width=config.width, colour=colour, present=present
    )
    frames: dict[str, UInt8[np.ndarray, "t h w 3"]] = {}
    labels: list[dict[str, Any]] = []
    for camera in CAMERAS:
        rgb, truth = _record_camera(episode, camera, number, rng)
        frames[camera] = rgb
        labels += truth
    return Recording(
        frames=frames,
        states=np.stack([m.state for m in episode.moments]).astype(np.float32),
        actions=np.stack([m.action for m in episode.moments]).astype(np.float32),
        task=instruction(colour),
        labels=labels,
    )


def list_splits(episodes: int) -> ListedSplits:
    """Whole episodes: the first 70% train, the next 10% validate (at least one), the rest test."""
    val = max(1, round(SHARES[1] * episodes))
    test = max(1, round(SHARES[2] * episodes))
    ends = (episodes - val - test, episodes - test)
    return ListedSplits(train=tuple(range(ends[0])), val=tuple(range(*ends)), test=tuple(range(ends[1], episodes)))


def _record_camera(
    episode: Episode, camera: str, number: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "t h w 3"], list[dict[str, Any]]]:
    backdrop = draw_backdrop(episode.scene, episode.scene.cameras[camera])
    frames, labels = [], []
    for t, moment in enumerate(episode.moments):
        view = render(episode.scene, backdrop, state=moment.state, cubes=moment.cubes, rng=rng)
        frames.append(view.rgb)
        where = {"episode_index": number, "frame_index": t, "camera": camera}
        labels += [where | row for row in label_rows(moment, view.objects)]
    return np.stack(frames), labels


def _write_dataset(root: Path, config: CubesConfig) -> list[dict[str, Any]]:
    """LeRobot's writer, one episode after another, while other processes render the next ones."""
    labels: list[dict[str, Any]] = []
    with _recordings(config) as recordings:
        dataset = _create(root, config)
        bar = tqdm(recordings, total=config.episodes, desc="world", unit="episode", disable=not config.progress)
        for recording in bar:
            for t in range(config.frames):
                images = {f"observation.images.{name}": frames[t] for name, frames in recording.frames.items()}
                numbers = {"observation.state": recording.states[t], "action": recording.actions[t]}
                dataset.add_frame(images | numbers | {"task": recording.task})
            dataset.save_episode(parallel_encoding=False)
            labels += recording.labels
        dataset.finalize()
    return labels


@contextmanager
def _recordings(config: CubesConfig) -> Iterator[Iterator[Recording]]:
    numbers = range(config.episodes)
    if not config.workers:
        yield (record_episode(config, number) for number in numbers)
        return
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(record_episode, config, number) for number in numbers]
        try:
            yield (future.result() for future in futures)
        finally:
            pool.shutdown(cancel_futures=True)


def _create(root: Path, config: CubesConfig) -> Any:
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
        REPO_ID,
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


def _write_labels(path: Path, rows: list[dict[str, Any]]) -> None:
    from ..labels import LABEL_SCHEMA, write_labels

    write_labels(path, pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))


def _manifest(out: Path, episodes: int) -> DatasetManifest:
    made = DatasetManifest(
        name=NAME,
        repo_id=REPO_ID,
        cameras=CAMERAS,
        splits=list_splits(episodes),
        licence="Apache-2.0",
        simulated=True,
    )
    return replace(made, root=out.absolute() / "dataset", labels=out.absolute() / "labels.parquet")


def _check(config: CubesConfig) -> None:
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
