"""What a dataset itself says about its frames, read from its tables alone: no video is opened, nothing is hashed."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import DatasetError
from ..manifest import DatasetManifest
from .info import INFO, read_info
from .rows import read_instructions


def own_instructions(manifest: DatasetManifest) -> Mapping[int, tuple[str, ...]]:
    """Episode -> the instruction of each of its frames.

    Raises:
        DatasetError: the manifest names no folder, or what lies there is no dataset of LeRobot.
    """
    from .lerobot import LAYOUTS

    root = _root(manifest)
    info = read_info(root)
    layout = LAYOUTS[info.codebase_version]
    files = layout.read_episodes(root, info, [])
    wanted = None if manifest.episodes is None else set(manifest.episodes)
    chosen = [one for one in files if wanted is None or one.index in wanted]
    return read_instructions(root, info, layout.read_tasks(root), chosen)


def frame_sizes(manifest: DatasetManifest) -> Mapping[str, tuple[int, int]]:
    """Short camera name -> (height, width) of its frames in pixels; empty where the dataset is not at hand."""
    if manifest.root is None or not (manifest.root / INFO).is_file():
        return {}
    features = read_info(manifest.root).features
    keys = {camera: f"observation.images.{camera}" for camera in manifest.cameras}
    return {camera: features[key].frame_size for camera, key in keys.items() if key in features}


def _root(manifest: DatasetManifest) -> Path:
    root = manifest.root
    if root is None or not (root / INFO).is_file():
        raise DatasetError(
            "the store holds several instructions a frame; the dataset, which says each frame's own, is not at hand",
            found="no `root` in the manifest" if root is None else f"nothing at {root}",
            expected=f"a folder with {INFO}",
            remedy="set `root` in the manifest, or extract z with a manifest without `labels` into a store of its own",
        )
    return root
