"""One picture file and one instruction, answered by backbone and head now."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...pipeline.errors import ConfigError, DatasetError
from ...train.loaded import LoadedRun
from ..figures.overlay import draw_overlay
from ..figures.panel import Panel
from .backbones import Caches
from .features import Clock, LiveFeatures, Picture, open_live
from .places import one_step, require_new
from .pointing import THRESHOLD, Pointing, point, require_grounding

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MODES = ("RGB", "L", "P", "1")  # without loss as RGB; an alpha channel or 16 bits would be a guess
STAGES = ("decode", "preprocess", "backbone", "head", "draw")


@dataclass(frozen=True)
class PictureAnswer:
    """What a run says about a picture.

    Args:
        image: the picture file.
        instruction: what was asked.
        pointing: the answer, in the picture's own pixels.
        seconds: latency by stage (:data:`STAGES`), one picture, batch 1.
        load_s: seconds that the weights took to load.
        device: where it ran.
        simulated: whether the frames were that the run learned from.
        saved: the drawn picture.
    """

    image: Path
    instruction: str
    pointing: Pointing
    seconds: Mapping[str, float] = field(repr=False)
    load_s: float
    device: str
    simulated: bool
    saved: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        milliseconds = {name: 1000 * spent for name, spent in self.seconds.items()}
        return {
            "image": str(self.image),
            "instruction": self.instruction,
            **self.pointing.to_json(),
            "latency_ms": milliseconds,
            "load_s": self.load_s,
            "device": self.device,
            "simulated": self.simulated,
            "saved": self.saved and str(self.saved),
        }

    def render(self) -> str:
        """The same for people."""
        found = self.pointing
        x, y = found.point
        height, width = found.size
        verdict = "relevant" if found.score >= THRESHOLD else f"nothing relevant (no score reaches {THRESHOLD})"
        outside = "" if found.inside else ", in the input's padding, outside the picture"
        stages = "  ".join(f"{name} {1000 * self.seconds[name]:.1f}" for name in STAGES if name in self.seconds)
        total = 1000 * sum(self.seconds.values())
        lines = [
            f"“{self.instruction}”" + (", asked of a run on SIMULATED frames" if self.simulated else ""),
            f"  point    x {x:.1f}, y {y:.1f} px of {width} x {height}{outside}",
            f"  score    highest cell {found.score:.3f}, {verdict}; the point's cell {found.score_there:.3f}",
            f"  latency  {total:.1f} ms on {self.device}, first call: {stages} (ms)",
            f"  weights  loaded in {self.load_s:.1f} s",
        ]
        return "\n".join([*lines, f"  picture  {self.saved}"] if self.saved else lines)


def predict_picture(
    loaded: LoadedRun,
    image: Path,
    instruction: str,
    *,
    live: LiveFeatures,
    load_s: float = 0.0,
    save: Path | None = None,
) -> PictureAnswer:
    """Ask a run about a picture, and draw the answer into ``save``.

    Raises:
        ConfigError: an empty instruction, a run of another task, no such picture, or a ``save`` that cannot be.
        DatasetError: a file that is no picture.
    """
    check_request(image, instruction, save)
    task = require_grounding(loaded)
    clock = Clock(live.device)
    with clock.stage("decode"):
        frame = read_picture(image)
    rows = live.rows([frame], [instruction], clock)
    with clock.stage("head"):
        (found,) = point(task, loaded.model, rows, (frame.shape[0], frame.shape[1]))
    simulated = loaded.record.manifest.get("simulated") is True
    if save is not None:
        with clock.stage("draw"):
            caption = f"Run {loaded.run_dir.resolve().name}, step {loaded.head.step}, backbone and head live."
            panel = found.panel(frame, f"{image.name} · highest score {found.score:.2f}")
            draw_answer(panel, f"“{instruction}”", caption, save, simulated=simulated)
    return PictureAnswer(image, instruction, found, clock.seconds, load_s, str(live.device), simulated, save)


def check_request(image: Path, instruction: str, save: Path | None) -> None:
    """Refuse what cannot be meant before weights are loaded; errors as of :func:`predict_picture`."""
    require_instruction(instruction)
    if save is not None:
        require_new(save, (".png",), "--save")
    read_picture(image)


def needed_features(loaded: LoadedRun) -> tuple[str, ...]:
    """The record's features that the head reads."""
    return ("z", "r") if require_grounding(loaded).head.refine else ("z",)


def open_run_live(
    loaded: LoadedRun, *, given: Sequence[str], caches: Caches, frame_size: tuple[int, int] | None = None
) -> LiveFeatures:
    """The backbones that make what the run's head reads, on the head's device; errors as of :func:`open_live`."""
    device = next(loaded.model.parameters()).device
    names = needed_features(loaded)
    return open_live(loaded.record, names, given=given, device=device, frame_size=frame_size, caches=caches)


def require_instruction(instruction: str) -> None:
    """ConfigError for a text that asks nothing."""
    if not instruction.strip():
        raise ConfigError(
            "the instruction is empty",
            expected="what the robot is told, such as “Pick up black cube and place inside white box”",
        )


def read_picture(path: Path) -> Picture:
    """A picture file as RGB, upright as its EXIF data says, (height, width, 3).

    Raises:
        ConfigError: no such file.
        DatasetError: no picture, a damaged one, or one whose colours would have to be guessed.
    """
    if not path.is_file():
        raise ConfigError(f"there is no picture {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _rgb(image, path)
    except UnidentifiedImageError:
        raise DatasetError(f"{path} is no picture that can be read", expected=FORMATS) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} is too large", found=error) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path} is damaged", found=error, remedy="save or copy the picture again") from None


def _rgb(image: Image.Image, path: Path) -> Picture:
    opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    if image.mode not in MODES and not opaque:
        raise DatasetError(
            f"{path} has colours that would have to be guessed",
            found=f"mode {image.mode}",
            expected="8-bit RGB, grey or a palette, nothing transparent",
            remedy="save it as RGB",
        )
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def draw_answer(panel: Panel, title: str, caption: str, save: Path, *, simulated: bool) -> None:
    """Write the drawn answer as a PNG, in one step."""
    with one_step(save) as unfinished:
        draw_overlay([panel], unfinished, title=title, caption=caption, simulated=simulated)
