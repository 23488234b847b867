"""Random scenes for pretraining: frames, what every cell shows, and what the expert does next.

Scenes come from seeds of their own, never from those of a data set (:data:`SEED_OFFSET`). Frames are drawn at the
data set's size and squashed to the network's input, and are kept as plain ``.npy`` files beside a small manifest.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from ...geometry import FrameGeometry
from ...processes import process_pool
from ...spec import ImageSpec
from .checkpoints import ACTION_STEPS, CAMERAS, IMAGE_SIZE, STATE_SIZE
from .episode import Episode, draw_episode
from .language import COLOURS
from .render import OBJECTS, draw_backdrop, render

SEED_OFFSET = 1_000_000_000
GRID = 14  # cells a side in which the share of every object is recorded
HEIGHT, WIDTH, FRAMES = 240, 320, 40
MOMENTS = 3  # frames kept of every random episode, in both views
SHARD = 32  # episodes a file

Arrays = dict[str, np.ndarray[Any, Any]]
Draw = Callable[[int, int], Iterator[Arrays]]  # (seed, number of the episode) -> its frames


def draw_cube_rows(seed: int, number: int) -> Iterator[Arrays]:
    """The kept frames of one random episode of the cube table, with what is true of them.

    ``image`` (3, 224, 224) uint8; ``shares`` (objects, 14, 14) uint8 in 1/255; ``states`` (6,), ``actions`` (8, 6)
    float32; ``colour``, ``held``, ``released`` int8: index into ``COLOURS`` or -1; ``expert`` int8: 1 where the
    actions are purposeful.
    """
    rng = np.random.default_rng([SEED_OFFSET + seed, number])
    colour = COLOURS[number % len(COLOURS)]
    present = bool(rng.random() < 0.88)
    episode = draw_episode(rng, frames=FRAMES, height=HEIGHT, width=WIDTH, colour=colour, present=present)
    times = np.sort(rng.choice(FRAMES, MOMENTS, replace=False))
    for name in CAMERAS:
        backdrop = draw_backdrop(episode.scene, episode.scene.cameras[name])
        for t in times:
            moment = episode.moments[t]
            view = render(episode.scene, backdrop, state=moment.state, cubes=moment.cubes, rng=rng)
            yield {
                "image": squash(view.rgb),
                "shares": object_shares(view.objects),
                **_expert(episode, int(t)),
                "expert": np.array(present, np.int8),
            }


def write_pretext(
    directory: Path,
    *,
    episodes: int,
    seed: int,
    workers: int,
    draw: Draw = draw_cube_rows,
    shard: int = SHARD,
    progress: bool = True,
) -> Path:
    """Draw ``episodes`` random episodes into ``directory``, ``shard`` to a file (finished files are reused).

    Files: ``images-<k>.npy`` (n, 3, 224, 224) uint8, and ``facts-<k>.npz`` with whatever else ``draw`` yields, one
    row a frame.
    """
    directory.mkdir(parents=True, exist_ok=True)
    items = [(directory, draw, seed, k, shard) for k in range((episodes + shard - 1) // shard)]
    todo = [item for item in items if not (directory / f"facts-{item[3]:05d}.npz").exists()]
    with process_pool(workers) as pool:
        written = pool.map(_write_item, todo) if workers > 1 else map(_write_item, todo)
        list(tqdm(written, total=len(todo), desc="draw scenes", unit="file", disable=not progress))
    (directory / "pretext.json").write_text(json.dumps({"episodes": episodes, "seed": seed, "items": len(items)}))
    return directory


def read_pretext(directory: Path) -> Arrays:
    """All items of a directory as arrays; ``images`` stays a list of memory maps, concatenated by row on access."""
    count = json.loads((directory / "pretext.json").read_text())["items"]
    facts = [dict(np.load(directory / f"facts-{k:05d}.npz")) for k in range(count)]
    return {name: np.concatenate([f[name] for f in facts]) for name in facts[0]}


def image_maps(directory: Path) -> list[np.ndarray[Any, Any]]:
    """The image files as memory maps, in order."""
    count = json.loads((directory / "pretext.json").read_text())["items"]
    return [np.load(directory / f"images-{k:05d}.npy", mmap_mode="r") for k in range(count)]


def _write_item(item: tuple[Path, Draw, int, int, int]) -> None:
    directory, draw, seed, k, shard = item
    rows = [row for e in range(k * shard, (k + 1) * shard) for row in draw(seed, e)]
    facts = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "image"}
    np.save(directory / f"images-{k:05d}.npy", np.stack([row["image"] for row in rows]))
    partial = directory / f"facts-{k:05d}.part.npz"
    np.savez(partial, allow_pickle=False, **facts)
    partial.rename(directory / f"facts-{k:05d}.npz")


def object_shares(objects: UInt8[np.ndarray, "h w"], count: int = len(OBJECTS)) -> UInt8[np.ndarray, "o g g"]:
    """How much of every cell of the squashed frame each of the first ``count`` objects covers, in 1/255."""
    geometry = FrameGeometry.of(ImageSpec(IMAGE_SIZE, IMAGE_SIZE), *objects.shape)
    shares = [geometry.cell_shares(objects == index, (GRID, GRID))[0] for index in range(count)]
    scaled: UInt8[np.ndarray, "o g g"] = np.rint(np.stack(shares).reshape(-1, GRID, GRID) * 255).astype(np.uint8)
    return scaled


def squash(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "3 224 224"]:
    """Bilinear resize without antialiasing, as the extraction does it, rounded back to bytes."""
    import torch
    import torch.nn.functional as F

    planes = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    resized = F.interpolate(planes, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    out: UInt8[np.ndarray, "3 224 224"] = resized[0].round().to(torch.uint8).numpy()
    return out


def next_actions(actions: Sequence[Float[np.ndarray, "6"]], t: int) -> Float[np.ndarray, "8 6"]:
    """The commands after moment ``t`` of an episode; its last one goes on beyond the end."""
    chunk: Float[np.ndarray, "8 6"] = np.stack([actions[min(t + 1 + k, len(actions) - 1)] for k in range(ACTION_STEPS)])
    return chunk.astype(np.float32)


def _expert(episode: Episode, t: int) -> Arrays:
    moment = episode.moments[t]
    index = {None: -1} | {colour: i for i, colour in enumerate(COLOURS)}
    return {
        "states": moment.state.astype(np.float32).reshape(STATE_SIZE),
        "actions": next_actions([m.action for m in episode.moments], t),
        "colour": np.array(index[episode.colour], np.int8),
        "held": np.array(index[moment.held], np.int8),
        "released": np.array(index[moment.released], np.int8),
    }
