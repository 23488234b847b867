"""The pages of runs whose examples are frames: the triptych of tokens, and maps."""

from pathlib import Path

from ..frames import Frames
from ..report import RunReport
from ..subject import Subject
from .book import Page, where_from
from .maps import draw_maps
from .moments import RULE, choose_frames
from .scenes_dense import map_scenes
from .scenes_distill import token_scenes
from .tokens import draw_tokens

TOKEN_ROWS, MAP_ROWS = 4, 2


def token_page(subject: Subject, frames: Frames, run: RunReport) -> Page:
    """The triptych of a distillation run."""

    def draw(path: Path) -> Path:
        scenes = token_scenes(subject, choose_frames(subject, run.split, TOKEN_ROWS), frames)
        caption = f"{where_from(run)} Colours: three principal components of the expert's tokens of these frames, "
        caption += f"for the prediction too. Shown by rule: {RULE}."
        title = "The expert's tokens, read out of the policy's"
        return draw_tokens(scenes, path, title=title, caption=caption, simulated=run.simulated)

    return Page("tokens", draw)


def map_page(subject: Subject, frames: Frames, run: RunReport) -> Page:
    """The maps of a dense run."""

    def draw(path: Path) -> Path:
        scenes = map_scenes(subject, choose_frames(subject, run.split, MAP_ROWS), frames)
        caption = f"{where_from(run)} Corners of both are decoded in the same way. "
        caption += f"Each |difference| has a scale of its own, which its bar states. Shown by rule: {RULE}."
        title = "The teacher's maps, read out of the policy's tokens"
        return draw_maps(scenes, path, title=title, caption=caption, simulated=run.simulated)

    return Page("maps", draw)
