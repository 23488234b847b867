"""Frames of a film: nothing of the frame before is left, and the picture is the one that figures draw."""

import numpy as np
import pytest
from PIL import Image

from visual_thought.evaluate.figures.canvas import DPI, new_figure
from visual_thought.evaluate.figures.panel import Panel, draw_panel
from visual_thought.evaluate.live.film import SIDE_IN, WIDTH_IN, Film

FPS, COUNT = 15, 6


def panel(size=(48, 64), *, region=True, scores=0.9, verdict="", seed=0, padding=0.0):
    """A frame of soft colours; ``padding`` frame pixels above it belong to the input too."""
    height, width = size
    rng = np.random.default_rng(seed)
    colours = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    frame = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC))
    cells = np.full((4, 4), 0.04)
    cells[1, 2], cells[3, 0] = scores, 0.7 * scores
    mask = np.zeros(size, bool)
    mask[height // 4 : height // 2, width // 2 : width - width // 8] = True
    x, y = 0.65 * width, 0.35 * height
    return Panel(
        frame=frame,
        scores=cells,
        column_edges=np.linspace(0, width, 5),
        row_edges=np.linspace(-padding, height, 5),
        sub_cell=(x - 4, y - 3, x + 4, y + 3),
        point=(x, y),
        region=mask if region else None,
        true_point=(x, y) if region else None,
        heading=f"frame of {scores}",
    )


def film(size=(48, 64)):
    phases = ["approach"] * 3 + ["carry"] * 3
    return Film("“take the red cube”", [0.2] * COUNT, FPS, size, simulated=True, phases=phases)


def test_a_frame_is_the_same_whatever_was_drawn_before_it():
    shown = [
        panel(region=True, scores=0.9),
        panel(region=False, scores=0.1),  # no region, no point, no score written
        panel(region=True, scores=0.6, seed=1),
        panel(region=False, scores=0.9, padding=16),  # cells elsewhere
        panel(region=True, scores=0.1, seed=2),
    ]
    running = film()
    pictures = [running.draw(number, one) for number, one in enumerate(shown)]
    for number, (one, picture) in enumerate(zip(shown, pictures, strict=True)):
        np.testing.assert_array_equal(picture, film().draw(number, one))
    np.testing.assert_array_equal(running.draw(0, shown[0]), pictures[0])


def test_a_frame_that_was_given_out_does_not_change_with_the_next():
    running = film()
    first = running.draw(0, panel())
    kept = first.copy()
    running.draw(1, panel(seed=1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("padding", [0.0, 16.0])
@pytest.mark.parametrize("size", [(48, 64), (240, 320), (480, 640), (704, 1280)])
def test_the_picture_is_the_one_that_figures_draw(size, padding):
    one = panel(size, padding=padding)
    drawn = film(size).draw(0, one)
    width = WIDTH_IN - 2 * SIDE_IN
    height = width * size[0] / size[1]
    figure = new_figure(width, height)
    draw_panel(figure.add_axes((0, 0, 1, 1)), one)
    figure.canvas.draw()
    expected = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    left = round(SIDE_IN * DPI)
    found = min(  # the film's height is rounded to even pixels
        (drawn[top : top + len(expected), left : left + expected.shape[1]] for top in range(126, 133)),
        key=lambda part: np.abs(part - expected).mean(),
    )
    off = np.abs(found - expected).max(axis=-1)
    assert off.mean() < 3
    assert (off > 40).mean() < 0.01  # along edges that fall between two pixels


@pytest.mark.parametrize("size", [(48, 64), (50, 64), (33, 77), (720, 1280)])
def test_every_picture_has_sides_that_a_video_codec_takes(size):
    running = film(size)
    drawn = running.draw(0, panel(size))
    assert drawn.shape == (*running.size, 3)
    assert drawn.dtype == np.uint8
    assert not any(side % 2 for side in running.size)
