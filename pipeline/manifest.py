"""Data manifests: one YAML a dataset says which of its frames are used, and how its episodes are split.

A manifest named without a path is one of ``data_manifests/*.yaml``, shipped with the package: its file name is its
name. Nothing here opens the dataset; :mod:`.datasets.lerobot` does.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .config import build, load_yaml, nearest, to_plain
from .errors import ConfigError, ManifestError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ListedSplits:
    """Episode indices, listed. An episode in no list is in no split; no episode is in two.

    Args:
        train: episodes to train on.
        val: episodes by which the best checkpoint is chosen.
        test: episodes on which numbers are reported.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        for name in SPLITS:
            for episode in getattr(self, name):
                if episode in seen:
                    raise ManifestError(
                        "an episode is in two splits, or twice in one",
                        found=f"episode {episode} in {seen[episode]} and {name}",
                        expected="every episode at most once",
                        remedy="list it under one split only: frames of one episode are near copies of each other",
                    )
                seen[episode] = name


@dataclass(frozen=True)
class SeededSplits:
    """Shares of the episodes, drawn by hashing (seed, episode): no order of the dataset matters.

    Args:
        seed: another seed, another draw.
        val: share of the episodes by which the best checkpoint is chosen, in [0, 1).
        test: share of the episodes on which numbers are reported, in [0, 1).
    """

    seed: int
    val: float
    test: float

    def __post_init__(self) -> None:
        if not (0 <= self.val < 1 and 0 <= self.test < 1 and self.val + self.test < 1):
            raise ManifestError(
                "the shares of val and test leave no episode to train on",
                found=f"val {self.val}, test {self.test}",
                expected="each in [0, 1), together below 1",
            )


@dataclass(frozen=True)
class DatasetManifest:
    """Which frames of one LeRobot dataset are used.

    Args:
        name: the manifest's file name without suffix.
        repo_id: the dataset's name, ``owner/name``; part of every row's identity.
        cameras: short camera names, ``main`` for the key ``observation.images.main``.
        splits: how episodes are divided; always whole episodes, never frames.
        licence: the dataset's licence, as its card says.
        simulated: True if no real robot recorded it; every table and figure says so.
        revision: branch, tag or commit on the Hub; None for a dataset that is on this disk only.
        root: the dataset's folder; None = looked up in LeRobot's home, then in the Hub's cache.
        stride: every stride-th frame of an episode is used (frame_index % stride == 0).
        episodes: the episodes used; None = all.
        labels: label parquet (see :mod:`.datasets.labels`), whose rows are the queries; None = each frame's own task.
    """

    name: str
    repo_id: str
    cameras: tuple[str, ...]
    splits: ListedSplits | SeededSplits
    licence: str
    simulated: bool
    revision: str | None = None
    root: Path | None = None
    stride: int = 1
    episodes: tuple[int, ...] | None = None
    labels: Path | None = None

    def __post_init__(self) -> None:
        _require(re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo_id), "repo_id", self.repo_id, "owner/name")
        _require(self.cameras and _unique(self.cameras), "cameras", self.cameras, "at least one, each once")
        _require(self.stride >= 1, "stride", self.stride, "1 or more")
        _require(self.episodes is None or self.episodes, "episodes", self.episodes, "null (all) or at least one")
        _require(
            _unique(self.episodes or ()) and min(self.episodes or (0,)) >= 0,
            "episodes",
            self.episodes,
            "indices from 0, each once",
        )


def load_manifest(name_or_path: str | Path) -> DatasetManifest:
    """Read a manifest: a shipped name (``tabletop_cubes``) or the path of a YAML file.

    ``root`` and ``labels`` are relative to the YAML's folder.

    Raises:
        ManifestError: no such manifest (the shipped ones are listed), an unknown key (the nearest is suggested), a
            value of another type, or splits that overlap.
    """
    path = _find(name_or_path)
    try:
        mapping = load_yaml(path)
        if "name" in mapping:
            raise ConfigError(f"{path}: unknown key `name`", remedy="remove it: a manifest is named by its file")
        manifest = build(DatasetManifest, mapping | {"name": path.stem}, source=str(path))
    except ConfigError as error:
        raise ManifestError(error.problem, found=error.found, expected=error.expected, remedy=error.remedy) from None
    folder = path.absolute().parent
    return replace(
        manifest,
        root=manifest.root and folder / manifest.root.expanduser(),
        labels=manifest.labels and folder / manifest.labels.expanduser(),
    )


def dump_manifest(manifest: DatasetManifest, path: str | Path) -> None:
    """Write a manifest that :func:`load_manifest` reads back; paths inside the YAML's folder become relative.

    Raises:
        ManifestError: the file's name is not the manifest's.
    """
    path = Path(path)
    if path.name != f"{manifest.name}.yaml":
        raise ManifestError("a manifest is named by its file", found=path.name, expected=f"{manifest.name}.yaml")
    data: dict[str, Any] = to_plain(manifest)
    del data["name"]
    for key in ("root", "labels"):
        data[key] = data[key] and _relative(Path(data[key]), path.absolute().parent)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    path.write_text(text, encoding="utf-8")


def shipped_manifests() -> tuple[str, ...]:
    """Names of the manifests that come with the package."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.yaml")))


def assign_splits(manifest: DatasetManifest, episodes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Divide a dataset's episodes into ``train``, ``val`` and ``test`` (sorted; an episode is in one at most).

    Args:
        manifest: its ``splits`` say how; if it names ``episodes``, only these are divided.
        episodes: indices of the episodes that the dataset has, or of those that were opened.

    Raises:
        ManifestError: an episode that the dataset or ``manifest.episodes`` has not, or a split left empty (``val``
            and ``test`` may be empty if the manifest says so itself: an empty list, or a share of 0).
    """
    chosen = set(episodes if manifest.episodes is None else manifest.episodes)
    if chosen - set(episodes):
        raise ManifestError(
            f"{manifest.name}: `episodes` names some that the dataset has not",
            found=sorted(chosen - set(episodes)),
            expected=f"among {episode_ranges(episodes)}",
        )
    splits = manifest.splits
    result = _listed(splits, chosen, manifest) if isinstance(splits, ListedSplits) else _seeded(splits, chosen)
    for name in SPLITS:
        if not result[name] and (name == "train" or getattr(splits, name)):
            raise ManifestError(
                f"{manifest.name}: the split `{name}` is empty",
                found=f"{len(chosen)} episodes",
                expected="at least one episode in every split that is asked for",
                remedy="record more episodes, or change `splits` in the manifest",
            )
    return result


def _listed(splits: ListedSplits, chosen: set[int], manifest: DatasetManifest) -> dict[str, tuple[int, ...]]:
    for name in SPLITS:
        unknown = sorted(set(getattr(splits, name)) - chosen)
        if unknown:
            raise ManifestError(
                f"{manifest.name}: the split `{name}` lists episodes that are not there",
                found=unknown,
                expected=f"among {episode_ranges(chosen)}",
                remedy="correct `splits`, or `episodes`, in the manifest",
            )
    return {name: tuple(sorted(getattr(splits, name))) for name in SPLITS}


def _seeded(splits: SeededSplits, chosen: set[int]) -> dict[str, tuple[int, ...]]:
    drawn = sorted(chosen, key=lambda episode: hashlib.sha256(f"{splits.seed}:{episode}".encode()).digest())
    test = round(splits.test * len(drawn)) or int(splits.test > 0)
    val = test + (round(splits.val * len(drawn)) or int(splits.val > 0))
    parts = {"train": drawn[val:], "val": drawn[test:val], "test": drawn[:test]}
    return {name: tuple(sorted(parts[name])) for name in SPLITS}


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or os.sep in str(name_or_path):
        return path
    shipped = _shipped_folder() / f"{name_or_path}.yaml"
    if not shipped.is_file():
        meant = nearest(str(name_or_path), shipped_manifests())
        raise ManifestError(
            f"no manifest is named {name_or_path}",
            expected=shipped_manifests(),
            remedy=f"did you mean {meant}?" if meant else "give one of these names, or the path of a .yaml file",
        )
    return shipped


def _shipped_folder() -> Path:
    return Path(str(files(f"{__package__.rpartition('.')[0]}.data_manifests")))


def _relative(target: Path, folder: Path) -> str:
    return str(target.relative_to(folder)) if target.is_relative_to(folder) else str(target.absolute())


def _require(holds: object, key: str, found: object, expected: str) -> None:
    if not holds:
        raise ManifestError(f"`{key}` cannot be meant", found=found, expected=expected)


def _unique(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


def episode_ranges(episodes: Iterable[int]) -> str:
    """Indices as text: ``0-27, 32``."""
    runs: list[list[int]] = []
    for episode in sorted(episodes):
        if runs and runs[-1][-1] == episode - 1:
            runs[-1] = [runs[-1][0], episode]
        else:
            runs.append([episode])
    return ", ".join("-".join(map(str, run)) for run in runs) or "(none)"
