"""Figures are written as PNGs of the promised size and show what they are given."""

import numpy as np
import pytest
from PIL import Image

from visual_thought.evaluate.figures.overlay import draw_overlay
from visual_thought.evaluate.figures.panel import Panel
from visual_thought.evaluate.figures.sweep import draw_sweep
from visual_thought.pipeline.metrics.curves import threshold_sweep


def panel(scores=None, region=True, point=(40.0, 20.0)):
    mask = np.zeros((48, 64), dtype=bool)
    mask[16:24, 36:44] = True
    if scores is None:
        scores = np.zeros((4, 4))
        scores[1, 2] = 0.9
    return Panel(
        frame=np.full((48, 64, 3), 128, dtype=np.uint8),
        scores=scores,
        column_edges=np.linspace(0, 64, 5),
        row_edges=np.linspace(0, 48, 5),
        sub_cell=(36.0, 18.0, 44.0, 24.0),
        point=point,
        region=mask if region else None,
        true_point=(40.0, 20.0) if region else None,
        heading="main camera",
    )


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def at(sweep, threshold):
    """A threshold of a sweep and the counts there."""
    return threshold, min(sweep, key=lambda point: abs(point.threshold - threshold)).counts


def draw(tmp_path, *panels, name="figure.png", simulated=True):
    words = {"title": "“take the red cube”", "caption": "Test split, episode 0.", "simulated": simulated}
    return draw_overlay(panels, tmp_path / name, **words)


def test_an_overlay_is_ten_inches_wide_and_its_panels_keep_the_frames_aspect(tmp_path):
    one = pixels(draw(tmp_path, panel(), name="one.png")).shape
    two = pixels(draw(tmp_path, panel(), panel(), name="two.png")).shape
    assert one[1] == two[1] == 1500
    key_in = 0.44  # below several panels; beside one alone
    assert one[0] - two[0] == pytest.approx(150 * ((6.2 - 4.65) * 48 / 64 - key_in), abs=2)


def test_the_key_tells_of_a_true_region_only_where_it_is_known(tmp_path):
    ink = [
        (pixels(draw(tmp_path, panel(region=known), name=f"{known}.png"))[150:, 1080:].min(axis=2) < 100).sum()
        for known in (True, False)
    ]
    assert ink[0] > ink[1] > 0


def test_the_heat_lies_over_the_cell_that_scores_and_leaves_the_others_as_they_were(tmp_path):
    image = pixels(draw(tmp_path, panel()))
    grey = np.abs(image - 128).sum(axis=2) == 0  # the frame where no heat is
    rows, columns = (np.flatnonzero(grey.sum(axis=axis) > 200) for axis in (1, 0))
    frame = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = frame.shape[:2]
    hot = np.argwhere((frame[..., 0] > 150) & (frame[..., 1] < 100))  # magenta over grey
    assert len(hot) > height * width / 32
    assert hot[:, 0].min() >= height / 4 - 3
    assert hot[:, 0].max() <= height / 2 + 3
    assert hot[:, 1].min() >= width / 2 - 3
    assert hot[:, 1].max() <= 3 * width / 4 + 3


def test_the_simulated_mark_changes_the_top_right_corner_only(tmp_path):
    marked = pixels(draw(tmp_path, panel(), name="a.png"))
    plain = pixels(draw(tmp_path, panel(), name="b.png", simulated=False))
    rows, columns = np.nonzero(np.abs(marked - plain).sum(axis=2))
    assert rows.size
    assert rows.max() < 100
    assert columns.min() > 0.8 * marked.shape[1]


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    assert draw(tmp_path, panel(), name="a.png").read_bytes() == draw(tmp_path, panel(), name="b.png").read_bytes()


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        (panel(), "HIT, 0 px off"),
        (panel(point=(40.0, 40.0)), "MISS, 20 px off"),
        (panel(region=False), "FALSE ALARM"),
        (panel(scores=np.zeros((4, 4)), region=False), "SILENT, rightly"),
    ],
)
def test_the_outcome_is_said_in_words(shown, verdict):
    assert shown.verdict == verdict


def test_a_point_without_a_region_is_judged_by_its_distance_alone():
    from dataclasses import replace

    assert replace(panel(), region=None).verdict == "0 px off"


def test_nothing_is_pointed_at_on_a_negative_row_where_the_head_is_silent(tmp_path):
    silent = pixels(draw(tmp_path, panel(scores=np.zeros((4, 4)), region=False)))
    frame = silent[200:700, 60:900]
    assert np.abs(frame[..., 0] - frame[..., 2]).max() <= 6  # no blue or magenta mark anywhere


def test_the_sweep_draws_the_head_and_every_control(tmp_path):
    rng = np.random.default_rng(0)
    targets = rng.random((50, 16)) < 0.1
    sweeps = {
        name: threshold_sweep(rng.normal(size=targets.shape) + targets * shift, targets)
        for name, shift in (("head", 4), ("linear probe", 2), ("centre prior", 0))
    }
    image = pixels(
        draw_sweep(
            sweeps,
            tmp_path / "s.png",
            used={name: at(sweep, 0.5) for name, sweep in sweeps.items()},
            caption="Test split.",
            simulated=False,
        )
    )
    assert image.shape[1] == 1500
    for color in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):
        assert (np.abs(image - color).sum(axis=2) < 12).sum() > 200


def test_a_sweep_in_which_nothing_is_ever_called_positive_is_still_drawn(tmp_path):
    sweep = threshold_sweep(np.full((3, 4), -50.0), np.eye(3, 4, dtype=bool))
    path = draw_sweep({"head": sweep}, tmp_path / "s.png", used={"head": at(sweep, 0.5)}, caption="", simulated=False)
    assert path.stat().st_size > 5_000


def test_each_contender_s_own_threshold_is_marked_and_moving_one_changes_the_right_chart_alone(tmp_path):
    targets = np.random.default_rng(1).random((50, 16)) < 0.1
    sweep = threshold_sweep(np.random.default_rng(2).normal(size=targets.shape) + 2.0 * targets, targets)
    images = []
    for threshold in (0.2, 0.6):
        used = {"head": at(sweep, 0.5), "centre prior": at(sweep, threshold)}
        path = tmp_path / f"{threshold}.png"
        images.append(pixels(draw_sweep(dict.fromkeys(used, sweep), path, used=used, caption="", simulated=False)))
    changed = np.argwhere(np.abs(images[0] - images[1]).sum(axis=2))
    assert changed.size
    assert changed[:, 1].min() > 750


def test_a_contender_has_one_colour_in_both_charts(tmp_path):
    targets = np.random.default_rng(1).random((50, 16)) < 0.1
    sweep = threshold_sweep(np.random.default_rng(2).normal(size=targets.shape) + 2.0 * targets, targets)
    used = {"head": at(sweep, 0.5), "centre prior": at(sweep, 0.3)}
    sweeps = dict.fromkeys(used, sweep)
    image = pixels(draw_sweep(sweeps, tmp_path / "s.png", used=used, caption="", simulated=False))
    left = image[:, :740]
    assert (np.abs(left - (0, 114, 178)).sum(axis=2) < 12).sum() > 200
    assert (np.abs(left - (213, 94, 0)).sum(axis=2) < 12).sum() == 0


def test_a_name_stands_near_its_line_and_on_no_other(tmp_path):
    from visual_thought.evaluate.figures.lines import OFF_LINE, Ending, name_lines
    from visual_thought.evaluate.figures.sheet import Sheet

    x = np.linspace(0.05, 0.95, 19)
    lines = {"flat": np.full(19, 0.8), "steep": 1.0 - x, "peak": np.maximum(0.0, 0.35 - 3 * np.abs(x - 0.2))}
    axes = Sheet("", "", 4.0, simulated=False).axes(0, 0, 4.0, 3.7)
    name_lines(axes, x, [(Ending(name, 0.0, "#000000"), line) for name, line in lines.items()], marks=[(0.5, 0.5)])
    for text, (name, line) in zip(axes.texts, lines.items(), strict=True):
        left, height = text.get_position()
        assert text.get_text() == name
        assert min(np.hypot(x - left, line - height)) < 0.15
        under = np.linspace(left - 0.02, left + 0.02, 9)
        assert all(np.abs(np.interp(under, x, other) - height).min() > OFF_LINE / 4 for other in lines.values())
