"""What an opened dataset is: its cameras, its episodes, and where their frames lie."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError

TOLERANCE_S = 1e-4  # between a frame's index and its time; LeRobot's own reader allows the same


@dataclass(frozen=True)
class Clip:
    """Where an episode lies in a camera's video file: the file, and the time of the episode's frame 0 in it."""

    path: Path
    start_s: float


@dataclass(frozen=True)
class Stills:
    """Where an episode lies if its frames are encoded one by one: a data file, and its column of pictures."""

    path: Path
    column: str


type Footage = Clip | Stills


@dataclass(frozen=True)
class Episode:
    """One episode: its length in frames, one instruction a frame, and its frames for each camera (short name)."""

    index: int
    length: int
    instructions: tuple[str, ...] = field(repr=False)
    clips: Mapping[str, Footage] = field(repr=False)


@dataclass(frozen=True)
class LeRobotSource:
    """An opened dataset.

    Args:
        repo_id: the dataset's name.
        revision: commit sha, or ``local-<hash>``.
        root: its folder.
        fps: frames a second.
        cameras: dataset key of every camera of the manifest, by short name.
        frame_sizes: (height, width) in pixels, by short name.
        episodes: the episodes of the manifest, by rising index.
        lengths: length in frames of every episode that the dataset has, by index.
        all_cameras: short names of every camera that the dataset has.
    """

    repo_id: str
    revision: str
    root: Path
    fps: float
    cameras: Mapping[str, str]
    frame_sizes: Mapping[str, tuple[int, int]]
    episodes: tuple[Episode, ...] = field(repr=False)
    lengths: Mapping[int, int] = field(repr=False)
    all_cameras: tuple[str, ...]

    def episode(self, index: int) -> Episode:
        """The episode of that index; raises DatasetError if the manifest has it not."""
        if index not in self._by_index:
            raise DatasetError(f"{self.repo_id}: no episode {index}", expected=f"one of {list(self._by_index)}")
        return self._by_index[index]

    def clip(self, episode: int, camera: str) -> Footage:
        """Where an episode's frames of a camera lie; raises DatasetError if the manifest has either not."""
        clips = self.episode(episode).clips
        if camera not in clips:
            raise DatasetError(f"{self.repo_id}: no camera `{camera}`", expected=list(clips))
        return clips[camera]

    @cached_property
    def _by_index(self) -> dict[int, Episode]:
        return {episode.index: episode for episode in self.episodes}
