"""``vtt predict --episode``: answers to every frame of an episode, drawn as a video or logged for Rerun."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...pipeline.errors import ConfigError, StoreError
from ...pipeline.metrics.grounding import hits
from ...pipeline.place import Place
from ...pipeline.store import FeatureStore
from ...train.loaded import LoadedRun
from .episode import Scene, answer_cached, answer_live, truths_of
from .features import Clock, LiveFeatures
from .places import require_new
from .pointing import THRESHOLD, Pointing, Truth
from .rerun_file import open_rerun, require_rerun
from .video import Sink, make_film, open_video, show


@dataclass(frozen=True)
class Judged:
    """How answers compare with the labels of an episode's frames.

    Args:
        relevant: frames where the target is in view and relevant.
        hits: of them, those whose point lies on the target; a target known by a point alone counts for nothing.
        irrelevant: frames where nothing is relevant.
        false_alarms: of them, those with a score that calls something relevant.
    """

    relevant: int
    hits: int
    irrelevant: int
    false_alarms: int

    def render(self) -> str:
        """A line for people."""
        told = f"point on the target in {self.hits} of {self.relevant} frames"
        return told + (f", {self.false_alarms} false alarms in {self.irrelevant} others" if self.irrelevant else "")


@dataclass(frozen=True)
class EpisodeAnswer:
    """What a run says about an episode.

    Args:
        episode: its index.
        camera: short name.
        instructions: what was asked, each once.
        fps: the dataset's frames a second, and the video's.
        answers: one a frame.
        source: ``cache`` or ``live``.
        seconds: busy seconds by stage, over all frames.
        judged: against the labels, where there are some.
        notes: what could not be done.
        files: what was written.
        simulated: whether the frames are.
    """

    episode: int
    camera: str
    instructions: tuple[str, ...]
    fps: float
    answers: tuple[Pointing, ...]
    source: str
    seconds: Mapping[str, float]
    judged: Judged | None
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    simulated: bool

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; of the answers, points and scores."""
        return {
            "episode": self.episode,
            "camera": self.camera,
            "instructions": list(self.instructions),
            "fps": self.fps,
            "frames": len(self.answers),
            "source": self.source,
            "points_px": [list(answer.point) for answer in self.answers],
            "scores": [answer.score for answer in self.answers],
            "judged": self.judged and asdict(self.judged),
            "ms_a_frame": self._milliseconds,
            "notes": list(self.notes),
            "files": [str(path) for path in self.files],
            "simulated": self.simulated,
        }

    def render(self) -> str:
        """The same for people."""
        asked = f"“{self.instructions[0]}”" if len(self.instructions) == 1 else "each frame's own task"
        stages = "  ".join(f"{name} {spent:.1f}" for name, spent in self._milliseconds.items())
        where = "the store" if self.source == "cache" else "the live backbone"
        lines = [
            f"episode {self.episode}, {self.camera} camera{' (SIMULATED)' if self.simulated else ''}: {asked}",
            f"  {len(self.answers)} frames at {self.fps:g} a second, answered from {where}",
            *([f"  {self.judged.render()}"] if self.judged else []),
            f"  ms a frame: {stages}",
            *(f"  note: {note}" for note in self.notes),
            *(f"  {path}" for path in self.files),
        ]
        return "\n".join(lines)

    @property
    def _milliseconds(self) -> dict[str, float]:
        return {name: 1000 * spent / len(self.answers) for name, spent in self.seconds.items()}


def refuse_outputs(out: Path | None, rerun: Path | None) -> None:
    """Refuse before any work what cannot be written.

    Raises:
        ConfigError: nothing to write, or a file that cannot be meant.
        MissingDependency: Rerun is asked for and not installed.
    """
    if out is None and rerun is None:
        raise ConfigError("there is nothing to write", remedy="add --out clip.mp4, or --rerun clip.rrd")
    if out is not None:
        require_new(out, (".mp4",), "--out")
    if rerun is not None:
        require_new(rerun, (".rrd",), "--rerun")
        require_rerun()


def predict_episode(
    loaded: LoadedRun,
    scene: Scene,
    answering: Place | LiveFeatures,
    *,
    out: Path | None = None,
    rerun: Path | None = None,
) -> EpisodeAnswer:
    """Answer every frame of a scene and draw the answers.

    Args:
        loaded: a run of the grounding task.
        scene: episode, camera, instructions.
        answering: the feature store, or the backbones that answer instead of it.
        out: the video, ``.mp4``, of the dataset's own frame rate.
        rerun: a recording for the Rerun viewer, ``.rrd``.

    Raises:
        ConfigError, MissingDependency: as :func:`refuse_outputs`; a run of another task.
        StoreError: no store, or no row for a frame; StoreMismatch if its features are not the run's.
        FrameError: a frame that is damaged.
        MachineError: a file that cannot be written.
    """
    refuse_outputs(out, rerun)
    live = answering if isinstance(answering, LiveFeatures) else None
    clock = Clock(next(loaded.model.parameters()).device)
    if live is not None:
        answers = answer_live(loaded, scene, live, clock)
    else:
        assert not isinstance(answering, LiveFeatures)
        answers = answer_cached(loaded, scene, _open_store(answering), clock)
    truths, note = truths_of(scene)
    film = make_film(scene, answers, truths)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        if out is not None:
            sinks.append(stack.enter_context(open_video(out, scene.source.fps, film.size)))
        if rerun is not None:
            sinks.append(stack.enter_context(open_rerun(rerun, scene, loaded)))
        show(scene, answers, truths, film, sinks, clock=clock)
    return EpisodeAnswer(
        episode=scene.episode,
        camera=scene.camera,
        instructions=tuple(dict.fromkeys(scene.instructions)),
        fps=scene.source.fps,
        answers=tuple(answers),
        source="live" if live is not None else "cache",
        seconds=clock.seconds,
        judged=judge(answers, truths) if truths else None,
        notes=(note,) if note else (),
        files=tuple(path for path in (out, rerun) if path is not None),
        simulated=scene.manifest.simulated,
    )


def _open_store(place: Place) -> FeatureStore:
    """The store; its error says that the backbone can answer without one."""
    try:
        return FeatureStore.open(place)
    except StoreError as error:
        remedy = "say where the store is now with --store, or add --live: the backbone then answers"
        raise StoreError(error.problem, found=error.found, expected=error.expected, remedy=remedy) from None


def judge(answers: Sequence[Pointing], truths: Mapping[int, Truth]) -> Judged:
    """Count hits and false alarms over the labelled frames."""
    relevant = [number for number, truth in truths.items() if truth.point is not None]
    known = {number: region for number in relevant if (region := truths[number].region) is not None}
    points = np.array([answers[number].point for number in known]).reshape(-1, 2)
    found = int(hits(points, list(known.values())).sum())
    others = [number for number in truths if number not in set(relevant)]
    alarms = sum(answers[number].score >= THRESHOLD for number in others)
    return Judged(len(relevant), found, len(others), alarms)
