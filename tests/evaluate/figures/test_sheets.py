"""Drawing functions: arrays in, PNG out; what is known of the arrays is found in the picture."""

from dataclasses import replace

import numpy as np
import pytest

from visual_thought.evaluate.figures.canvas import BLUE, ORANGE, SKY
from visual_thought.evaluate.figures.colours import TokenColours
from visual_thought.evaluate.figures.curves import Shares, draw_curves
from visual_thought.evaluate.figures.filmstrip import Filmstrip, draw_filmstrip
from visual_thought.evaluate.figures.gallery import Failure, FailureKind, draw_gallery
from visual_thought.evaluate.figures.lines import spread
from visual_thought.evaluate.figures.maps import MapScene, draw_maps
from visual_thought.evaluate.figures.missing import NoFigure
from visual_thought.evaluate.figures.overlay import draw_overlay
from visual_thought.evaluate.figures.sheet import BODY_IN, Sheet, fitting
from visual_thought.evaluate.figures.tokens import TokenScene, draw_tokens, fit_colours
from visual_thought.evaluate.figures.training import draw_training, training_curves
from visual_thought.evaluate.figures.words import MISSING, balance, legible, width_of, wrap
from visual_thought.pipeline.metrics.calibration import calibrate
from visual_thought.pipeline.metrics.curves import precision_recall_curve

from .test_figures import panel, pixels

WORDS = {"title": "A title", "caption": "Test split, episode 0.", "simulated": True}
LONG = "Pick up the cube that lies behind the white box and place it where the arm cannot be seen " * 3


def rgb(colour):
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])


def like(image, colour, within=12):
    return np.argwhere(np.abs(image - rgb(colour)).sum(axis=2) < within)


def token_scene(rng, shift=0.0, predicted=None):
    expert = rng.normal(size=(4, 6, 8)) * np.linspace(3, 0.1, 8) + shift
    frame = np.full((48, 64, 3), 128, np.uint8)
    return TokenScene(frame, expert, expert if predicted is None else predicted, (0, 64, 48, 0), "episode 0", 0.5, 0.1)


def map_scene(predicted_corners=((40.0, 30.0),), teacher_corners=((16.0, 12.0),), channels=("sin", "cos", "radius")):
    frame = np.full((48, 64, 3), 128, np.uint8)
    maps = np.zeros((len(channels), 24, 32))
    corners = [np.array(points, dtype=float).reshape(-1, 2) for points in (teacher_corners, predicted_corners)]
    return MapScene(frame, maps + 0.5, maps, channels, (0, 64, 48, 0), "episode 0", *corners, 0, 10.0)


def filmstrip(shown=(0, 3), names=("black cube", "white box")):
    score = np.array([0.9, 0.8, 0.2, 0.1])
    return Filmstrip(
        frame=np.arange(4.0),
        source_score=score,
        target_score=1 - score,
        source=names[0],
        target=names[1],
        grasp=2,
        shown=shown,
        panels=tuple(panel() for _ in shown),
    )


def failure(asked="take the red cube"):
    return Failure(panel(), asked, "relevant, score 0.90", "nothing is relevant", "episode 0, frame 1, main camera")


def log(steps=(10, 20, 30), metric=(0.2, 0.6, 0.5)):
    lines = [{"kind": "note", "step": 0, "text": "resumed"}]
    for step, value in zip(steps, metric, strict=True):
        lines.append({"kind": "train", "step": step, "contender": "head", "loss": 1 / step})
        for name, share in (("linear_probe", 0.5), ("head", 1.0)):
            line = {"kind": "validation", "step": step, "contender": name, "split": "val", "f_0_25": share * value}
            lines += [line, line | {"split": "train", "f_0_25": 1.0}]
    return [*lines, {"kind": "validation", "step": 40, "contender": "head", "split": "val", "f_0_25": None}]


def every_figure(folder):
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.2
    logits = -1.0 + 2.0 * truth + rng.normal(size=200)
    yield draw_tokens([token_scene(rng), token_scene(rng)], folder / "tokens.png", **WORDS)
    yield draw_maps([map_scene()], folder / "maps.png", **WORDS)
    yield draw_filmstrip(filmstrip(), folder / "film.png", **WORDS)
    yield draw_gallery([FailureKind("false positives", "", 1, 9, (failure(),))], folder / "worst.png", **WORDS)
    yield draw_training(training_curves(log(), "f_0_25", higher_is_better=True), folder / "train.png", **WORDS)
    curves = {"head": Shares(precision_recall_curve(logits, truth), 0.5, (0.4, 0.6))}
    yield draw_curves(curves, calibrate(logits, truth), folder / "pr.png", **WORDS)


def test_every_figure_is_ten_inches_wide_and_the_same_bytes_when_drawn_again(tmp_path):
    first, again = list(every_figure(tmp_path / "a")), list(every_figure(tmp_path / "b"))
    for one, other in zip(first, again, strict=True):
        assert pixels(one).shape[1] == 1500
        assert one.read_bytes() == other.read_bytes(), one.name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(path.name for path in first)


def test_the_principal_components_are_those_of_the_expert_s_tokens():
    rng = np.random.default_rng(1)
    tokens = rng.normal(size=(500, 5)) * [1, 8, 0.1, 4, 2] + 7
    found = TokenColours.fit(tokens)
    values, vectors = np.linalg.eigh(np.cov(tokens.T))
    wanted = vectors[:, np.argsort(-values)[:3]].T
    assert np.abs((found.directions * wanted).sum(axis=1)) == pytest.approx(1.0, abs=1e-9)
    assert (found.directions[np.arange(3), np.abs(found.directions).argmax(axis=1)] > 0).all()


def test_both_token_pictures_are_coloured_by_one_fit_that_never_sees_the_prediction(tmp_path):
    scene = token_scene(np.random.default_rng(2))
    other = token_scene(np.random.default_rng(2), predicted=-5 * scene.expert)
    assert np.array_equal(fit_colours([scene]).mean, fit_colours([other]).mean)
    assert np.array_equal(fit_colours([scene]).directions, fit_colours([other]).directions)
    same = pixels(draw_tokens([scene], tmp_path / "same.png", **WORDS))
    moved = pixels(draw_tokens([other], tmp_path / "moved.png", **WORDS))
    changed = np.argwhere(np.abs(same - moved).sum(axis=2) > 0)
    assert changed[:, 1].min() > 1000  # the third column alone


def test_a_perfect_prediction_looks_like_the_expert_in_every_token(tmp_path):
    image = pixels(draw_tokens([token_scene(np.random.default_rng(3))], tmp_path / "p.png", **WORDS))
    middle = image[200 : 200 + 250]
    width, gap = 150 * (BODY_IN - 1.15 - 0.2) / 3, 150 * 0.1
    left = round(150 * (0.25 + 1.15) + width + gap)
    expert, predicted = (middle[:, at + 10 : at + 390] for at in (left, left + round(width + gap)))
    assert np.median(np.abs(expert - predicted)) == 0


def test_tokens_that_do_not_vary_are_grey_and_few_channels_leave_colours_at_their_middle():
    assert TokenColours.fit(np.full((6, 4), 3.0))(np.full((2, 4), 9.0)) == pytest.approx(0.5)
    one = TokenColours.fit(np.arange(5.0)[:, None])(np.array([[-100.0], [100.0]]))
    assert one[:, 0] == pytest.approx([0, 1])
    assert one[:, 1:] == pytest.approx(0.5)


def test_corners_are_drawn_where_they_were_decoded(tmp_path):
    image = pixels(draw_maps([map_scene()], tmp_path / "m.png", **WORDS))
    empty = pixels(draw_maps([map_scene(((40.0, 30.0),), ())], tmp_path / "e.png", **WORDS))
    left, width = 150 * 0.25, 150 * 3.05
    top = np.argwhere((image[:, round(left) + 5] == 128).all(axis=1)).min()
    for colour, (x, y) in ((SKY, (16.0, 12.0)), (ORANGE, (40.0, 30.0))):
        marks = like(image[: round(top + width * 0.75)], colour)
        marks = marks[marks[:, 1] < left + width]
        middle = (marks.min(axis=0) + marks.max(axis=0)) / 2
        assert middle[1] == pytest.approx(left + x / 64 * width, abs=3)
        assert middle[0] == pytest.approx(top + y / 64 * width, abs=3)
    frame = empty[: round(top + width * 0.75), : round(left + width)]
    assert len(like(frame, ORANGE))
    assert not len(like(frame, SKY))


def test_maps_of_any_channels_are_drawn(tmp_path):
    five = map_scene(channels=("sin", "cos", "radius", "dx", "dy"))
    high = len(pixels(draw_maps([five], tmp_path / "5.png", **WORDS)))
    assert high > len(pixels(draw_maps([map_scene()], tmp_path / "3.png", **WORDS)))
    assert draw_maps([map_scene(channels=("channel 0",))], tmp_path / "1.png", **WORDS).exists()


def test_a_small_difference_is_dark_where_it_is_greatest(tmp_path):
    scene = map_scene(channels=("radius",))
    teacher = np.zeros((1, 24, 32))
    teacher[0, :4] = 10.0
    predicted = teacher.copy()
    predicted[0, 12:] = 0.5  # a twentieth of the teacher's range
    small = replace(scene, teacher=teacher, predicted=predicted)
    image = pixels(draw_maps([small], tmp_path / "s.png", **WORDS))
    right = image[:, 1080:1320].sum(axis=2)
    assert (right < 30).sum() > 5_000


def test_both_lines_of_a_filmstrip_end_at_their_scores(tmp_path):
    image = pixels(draw_filmstrip(filmstrip(), tmp_path / "f.png", **WORDS))
    chart = image[:, 120:1230]
    source = like(chart, BLUE)
    first, last = source[source[:, 1] < 20][:, 0].mean(), source[source[:, 1] > source[:, 1].max() - 20][:, 0].mean()
    assert last - first == pytest.approx(0.8 * 150 * 2.3 / 1.26, rel=0.1)


def test_names_that_end_at_one_height_are_moved_apart():
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.5, 0.6, 0.7])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert spread([0.1, 0.9], 0.1) == pytest.approx([0.1, 0.9])


def test_the_best_step_is_the_first_best_validation_of_the_head():
    curves = training_curves(log(metric=(0.6, 0.2, 0.6)), "f_0_25", higher_is_better=True)
    assert curves.best == (10, 0.6)
    assert training_curves(log(), "f_0_25", higher_is_better=False).best == (10, 0.2)
    assert list(curves.metrics) == ["head", "linear_probe"]
    assert curves.metrics["linear_probe"].values == pytest.approx([0.3, 0.1, 0.3])
    assert curves.losses["head"].steps.tolist() == [10, 20, 30]


def test_a_log_without_numbers_has_no_curves_and_says_what_to_do():
    with pytest.raises(NoFigure, match="no curve") as caught:
        training_curves(log()[:1], "f_0_25", higher_is_better=True)
    assert caught.value.figure == "training"
    assert "log_freq" in (caught.value.remedy or "")


@pytest.mark.parametrize("lines", [log()[1:2], log()[2:3], log((7,), (0.3,))])
def test_a_log_of_one_line_is_drawn(tmp_path, lines):
    curves = training_curves(lines, "f_0_25", higher_is_better=True)
    assert draw_training(curves, tmp_path / "t.png", **WORDS).exists()


def test_curves_of_rows_without_a_target_and_of_one_score_are_drawn(tmp_path):
    logits, nothing, all_right = np.zeros((1, 10)), np.zeros((1, 10), dtype=bool), np.ones((1, 10), dtype=bool)
    curves = {"head": Shares((), None), "probe": Shares(precision_recall_curve(logits, all_right), 1.0, (1.0, 1.0))}
    assert draw_curves(curves, calibrate(logits, nothing), tmp_path / "c.png", **WORDS).exists()


def test_long_text_is_wrapped_within_its_width_and_a_word_too_wide_is_broken():
    for text in (LONG, "x" * 500, "word " + "y" * 200):
        for line in wrap(text, 3.0, 11.0, weight="bold").split("\n"):
            assert width_of(line, 11.0, "bold") <= 3.0
    assert "".join(wrap("x" * 500, 3.0, 11.0).split()) == "x" * 500
    assert wrap(LONG, 3.0, 11.0, lines=2).count("\n") == 1
    assert wrap(LONG, 3.0, 11.0, lines=2).endswith("…")
    assert wrap("", 3.0, 11.0) == ""


def test_a_balanced_title_has_no_more_lines_and_a_longer_last_one():
    text = "Pick up the black cube and place it inside the white box, one moment"
    wide = width_of(text, 14.0) * 0.95
    plain, balanced = wrap(text, wide, 14.0).split("\n"), balance(text, wide, 14.0).split("\n")
    assert len(plain) == len(balanced) == 2
    assert len(balanced[-1]) > len(plain[-1])


@pytest.mark.parametrize(
    "asked", [LONG, "z" * 3000, "cost $x_{1$ \\frac", "\u0000\u202e\U0001f9ca 拿起\tcube\n" * 40, ""]
)
def test_whatever_an_instruction_holds_is_drawn_within_the_page(tmp_path, asked):
    kind = FailureKind("false positives", "highest score", 1, 9, (failure(asked),))
    image = pixels(draw_gallery([kind], tmp_path / "g.png", **WORDS))
    assert (image[:, :30] == 255).all()
    assert (image[:, -30:] == 255).all()
    shown = legible(f"“{asked}”")
    assert draw_overlay([panel()], tmp_path / "o.png", title=shown, caption=shown, simulated=False).exists()
    names = (legible(asked), "white box")
    assert draw_filmstrip(filmstrip(names=names), tmp_path / "f.png", **WORDS | {"title": shown}).exists()


def test_a_glyph_the_font_lacks_becomes_a_square_and_white_space_one_space():
    assert legible("a \t\n b\u0007\U0001f9ca") == f"a b{MISSING}{MISSING}"
    assert len(legible("x" * 5000)) <= 400


def test_a_longer_instruction_makes_the_gallery_higher(tmp_path):
    heights = []
    for number, asked in enumerate(("short", LONG)):
        kind = FailureKind("false negatives", "", 1, 2, (failure(asked),) * 4)
        heights.append(len(pixels(draw_gallery([kind], tmp_path / f"{number}.png", **WORDS))))
    assert heights[1] > heights[0] + 2 * 25


def test_a_kind_without_failures_says_none_and_nothing_failed_is_no_figure(tmp_path):
    kinds = [FailureKind("false positives", "", 1, 9, (failure(),)), FailureKind("false negatives", "", 0, 9, ())]
    assert draw_gallery(kinds, tmp_path / "g.png", **WORDS).exists()
    with pytest.raises(NoFigure, match="no row was answered wrongly"):
        draw_gallery(kinds[1:], tmp_path / "g2.png", **WORDS)


@pytest.mark.parametrize("draw", [draw_tokens, draw_maps, draw_overlay])
def test_without_anything_to_show_there_is_no_figure_and_no_file(tmp_path, draw):
    with pytest.raises(NoFigure):
        draw([], tmp_path / "x.png", **WORDS)
    assert not list(tmp_path.iterdir())


def test_a_line_that_does_not_fit_is_written_smaller_but_never_under_nine_points():
    assert fitting("HIT", 3.0) == 11.0
    assert 9.0 <= fitting("FALSE ALARM, 100 px off", 1.6, weight="bold") < 11.0
    assert fitting("x" * 500, 1.0) == 9.0


def test_no_text_of_any_figure_is_smaller_than_nine_points(tmp_path, monkeypatch):
    sizes = []
    saved = Sheet.save

    def watch(sheet, path):
        texts = sheet.figure.findobj(lambda one: hasattr(one, "get_fontsize") and one.get_text().strip())
        sizes.extend((text.get_fontsize(), text.get_text()) for text in texts if text.get_visible())
        return saved(sheet, path)

    monkeypatch.setattr(Sheet, "save", watch)
    list(every_figure(tmp_path))
    assert len(sizes) > 80
    assert min(sizes)[0] >= 9.0, min(sizes)
