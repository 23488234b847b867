"""An episode with a run's answers drawn on every frame, as an MP4 of the dataset's own frame rate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from jaxtyping import UInt8

from ...pipeline.errors import MachineError
from ..figures.panel import Panel
from .episode import Scene
from .features import Clock
from .film import Film
from .places import one_step
from .pointing import Pointing, Truth

CODEC, QUALITY = "libx264", "20"
MOST_DIVISOR = 1001  # of NTSC's rates, 30000/1001


class Sink(Protocol):
    """Where drawn frames go."""

    def add(self, number: int, panel: Panel, drawn: UInt8[np.ndarray, "h w 3"]) -> None:
        """One frame: its number, what is said about it, and the picture of both."""


class VideoFile:
    """An open MP4; frames are added in order, each shown for one period of the rate."""

    def __init__(self, container: Any, rate: Fraction, size: tuple[int, int]) -> None:
        self._container = container
        self._stream = container.add_stream(CODEC, rate=rate, options={"crf": QUALITY, "preset": "medium"})
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = 1

    def add(self, number: int, panel: Panel, drawn: UInt8[np.ndarray, "h w 3"]) -> None:  # noqa: ARG002 the sink's
        """Encode one frame."""
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        frame.pts, frame.time_base = number, self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode what the codec still holds back."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def open_video(path: Path, fps: float, size: tuple[int, int]) -> Iterator[VideoFile]:
    """An MP4 that gets its name when the block ends well; MachineError if it cannot be written."""
    with one_step(path) as unfinished:
        try:
            with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as container:
                video = VideoFile(container, exact_rate(fps), size)
                yield video
                video.finish()
        except (av.FFmpegError, OSError) as error:
            raise MachineError(f"{path} cannot be written", found=error) from None


def exact_rate(fps: float) -> Fraction:
    """A dataset's frame rate as a fraction: 15, or 30000/1001 for 29.97…"""
    return Fraction(fps).limit_denominator(MOST_DIVISOR)


def make_film(scene: Scene, answers: Sequence[Pointing], truths: dict[int, Truth]) -> Film:
    """The canvas of an episode's film."""
    asked = list(dict.fromkeys(scene.instructions))
    title = f"“{asked[0]}”" if len(asked) == 1 else f"each frame's own task ({len(asked)})"
    phases = [truths[number].phase if number in truths else "" for number in range(len(answers))]
    scores = [answer.score for answer in answers]
    simulated = scene.manifest.simulated
    return Film(title, scores, scene.source.fps, scene.size, simulated=simulated, phases=phases)


def show(
    scene: Scene,
    answers: Sequence[Pointing],
    truths: dict[int, Truth],
    film: Film,
    sinks: Sequence[Sink],
    *,
    clock: Clock,
) -> None:
    """Draw every frame and hand it to the sinks."""
    for number, (frame, answer) in enumerate(zip(scene.frames(), answers, strict=True)):
        panel = answer.panel(frame, _heading(scene, number, answer, truths.get(number)), truths.get(number))
        with clock.stage("draw"):
            drawn = film.draw(number, panel)
        with clock.stage("encode"):
            for sink in sinks:
                sink.add(number, panel, drawn)


def _heading(scene: Scene, number: int, answer: Pointing, truth: Truth | None) -> str:
    time = f"{number / scene.source.fps:.2f} s"
    told = [f"episode {scene.episode}", f"{scene.camera} camera", time, truth.phase if truth else ""]
    return " · ".join([*filter(None, told), f"score {answer.score:.2f}"])
