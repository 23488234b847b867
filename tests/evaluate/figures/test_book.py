"""From real runs, their stores and a dataset that LeRobot wrote to figures, and what is said where one is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.figures.book import Book, Missing, Page, draw_book, training_page
from visual_thought.evaluate.figures.missing import NoFigure
from visual_thought.evaluate.figures.moments import choose_frames, placed, read_batch
from visual_thought.evaluate.figures.pages_frames import map_page, token_page
from visual_thought.evaluate.figures.scenes_dense import map_scenes
from visual_thought.evaluate.figures.scenes_distill import token_scenes
from visual_thought.evaluate.figures.scenes_ground import (
    choose_execution,
    choose_failures,
    failures,
    film,
    object_scores,
)
from visual_thought.evaluate.figures.shown import Shown
from visual_thought.evaluate.frames import frames_of, no_frames
from visual_thought.evaluate.measures import Measures
from visual_thought.evaluate.report import ContenderReport, RunReport
from visual_thought.evaluate.rows import Answers
from visual_thought.evaluate.subject import open_subject
from visual_thought.pipeline.datasets.lerobot import open_source
from visual_thought.pipeline.errors import DatasetError
from visual_thought.pipeline.metrics.grounding import sigmoid
from visual_thought.train.run import train

from ..conftest import FINE, GRID

sys.path.append(str(Path(__file__).parents[2] / "train"))
from expert_toys import E_LAYOUT, expert_config, make_experts


def told(folder, task):
    """What a caption needs of a run's report."""
    head = ContenderReport("head", None, Measures(1, {}), {}, (), None)
    return RunReport(task, folder / task, "best", 10, "test", "toys", 1, True, folder / "store", {}, (head,), {}, task)


def opened(folder, task, **changes):
    config = EvalConfig(**{"runs": (folder / task,), "out": folder / "out", "device": "cpu"} | changes)
    return open_subject(config, folder / task)


def picture(episode, camera, frame):
    """Any frame of the experts' toy, whose store was made from corners and not from pictures."""
    return np.full((96, 96, 3), (40 * episode + frame) % 256, np.uint8)


@pytest.fixture(scope="module")
def expert_runs(tmp_path_factory):
    """store/ and the real runs distill/ and dense/; never written into."""
    folder = tmp_path_factory.mktemp("experts")
    make_experts(folder)
    for task in ("distill", "dense"):
        train(expert_config(task, folder, task))
    return folder


def shown_rows(rows, scores=None):
    """The rows with answers that score 0.9 where a cell is relevant and 0.1 elsewhere, unless told otherwise."""
    scores = np.where(rows.cells, 0.9, 0.1) if scores is None else scores
    points = np.nan_to_num(rows.points, nan=5.0)
    return Shown(rows, Answers(np.log(scores / (1 - scores)), points), GRID, FINE)


def grey(episode, camera, frame):
    return np.full((48, 64, 3), 128, np.uint8)


def test_frames_are_chosen_over_the_split_without_looking_at_predictions(expert_runs):
    with opened(expert_runs, "distill") as run:
        table, numbers = run.examples.table, choose_frames(run, "train", 3)
        episodes = table["episode_index"].to_numpy()[numbers]
        assert len(set(episodes.tolist())) == 3
        assert set(numbers.tolist()) <= set(run.splits["train"].tolist())
        assert episodes[0] == 0
        assert episodes[-1] == 3
        assert np.array_equal(numbers, choose_frames(run, "train", 3))
        assert len(choose_frames(run, "test", 4)) == 1


def test_token_scenes_hold_what_the_head_predicts_and_what_the_store_holds(expert_runs):
    with opened(expert_runs, "distill") as run:
        numbers = choose_frames(run, "train", 3)
        scenes = token_scenes(run, numbers, picture)
        task, model = run.loaded.task, run.loaded.model
        for number, scene in zip(numbers, scenes, strict=True):
            batch = read_batch(run, np.array([number]))
            with torch.inference_mode():
                expected = task.metrics(task.observe(model, batch).arrays)
                tokens = model(batch["z"])[0, E_LAYOUT.prefix :].numpy()
            assert scene.mse == pytest.approx(expected["mse"], rel=1e-5)
            assert scene.cosine == pytest.approx(expected["cosine"], rel=1e-5)
            assert scene.expert.reshape(-1, 5) == pytest.approx(batch["e"][0, E_LAYOUT.prefix :].numpy())
            assert scene.predicted.reshape(-1, 5) == pytest.approx(tokens, rel=1e-4, abs=1e-5)
            assert np.array_equal(scene.frame, picture(*placed(run, int(number))))


def test_map_scenes_hold_maps_in_frame_pixels_and_corners_of_the_tasks_own_decoder(expert_runs):
    with opened(expert_runs, "dense") as run:
        numbers = choose_frames(run, "train", 2)
        scenes = map_scenes(run, numbers, picture)
        batch, task = read_batch(run, numbers), run.loaded.task
        for place, scene in enumerate(scenes):
            assert scene.channels == ("radius", "sin", "cos")
            assert scene.extent == (0.0, 96.0, 96.0, 0.0)
            assert np.array_equal(scene.teacher, batch["y"][place].numpy())
            taught = task.corners(batch["y"][place : place + 1], np.array([[96, 96]]))[0][0]
            assert scene.teacher_corners == pytest.approx(taught)
            true = batch["corners"][place].numpy()
            true = true[np.isfinite(true).all(axis=1)]
            assert np.linalg.norm(taught - true, axis=1).min() < 6  # a perfect teacher's, pooled


def test_a_book_of_expert_runs_holds_their_figures(expert_runs, tmp_path):
    for task, page, metric in (("distill", token_page, "mse"), ("dense", map_page, "mse")):
        with opened(expert_runs, task) as run:
            report = told(expert_runs, task)
            pages = [page(run, picture, report), training_page(report, metric, higher_is_better=False)]
            book = draw_book(pages, tmp_path / task)
        assert [path.name for path in book.drawn] == [f"{pages[0].name}.png", "training.png"]
        assert not book.missing


def test_a_figure_of_another_task_is_missing_with_a_reason_and_costs_no_other(expert_runs, tmp_path):
    with opened(expert_runs, "dense") as run:
        report = told(expert_runs, "dense")
        pages = [token_page(run, picture, report), map_page(run, picture, report)]
        book = draw_book(pages, tmp_path)
    assert [path.name for path in book.drawn] == ["maps.png"]
    assert [(one.name, one.why) for one in book.missing] == [("tokens", "a run without expert tokens")]


def test_a_log_that_is_gone_and_a_dataset_that_cannot_be_read_are_missing_figures(expert_runs, tmp_path):
    frames = no_frames(DatasetError("there is no dataset at /gone"), remedy="set `root`")
    with opened(expert_runs, "distill") as run:
        gone = told(tmp_path, "distill")
        pages = [token_page(run, frames, gone), training_page(gone, "mse", higher_is_better=False)]
        book = draw_book(pages, tmp_path / "book")
    assert not book.drawn
    assert book.missing[0].why == "the dataset could not be read: there is no dataset at /gone"
    assert book.missing[0].remedy == "set `root`"
    assert book.missing[1].why == "the run's log holds no curve"
    assert not (tmp_path / "book").exists()


def test_an_execution_is_the_first_whose_relevant_object_changes(rows):
    execution = choose_execution(rows)
    assert [rows.frame[row] for row in execution.rows] == [0, 1, 2, 3]
    assert {rows.instruction[row] for row in execution.rows} == {"take the red cube"}
    assert (execution.source, execution.target, execution.grasp) == ("red cube", "box", 2)
    assert rows.episode[execution.rows[0]] == 0
    only_before = rows.take(np.flatnonzero(np.array(rows.phase) == "approach"))
    with pytest.raises(NoFigure, match="relevant first and another one later"):
        choose_execution(only_before)


def test_an_object_is_scored_where_the_labels_saw_it_nearest_in_time(rows):
    rng = np.random.default_rng(5)
    shown = shown_rows(rows, rng.uniform(0.05, 0.95, rows.cells.shape))
    execution = choose_execution(rows)
    own, scores = execution.rows, sigmoid(shown.answers.logits)
    seen = {"red cube": (0, 1, 1, 1), "box": (2, 2, 2, 3)}
    for name, nearest in seen.items():
        wanted = [scores[own[now]][rows.cells[own[then]]].max() for now, then in enumerate(nearest)]
        assert object_scores(shown, execution, name) == pytest.approx(wanted)


def test_a_filmstrip_shows_the_moment_of_the_grasp(rows):
    shown = shown_rows(rows)
    strip = film(shown, choose_execution(rows), grey, threshold=0.5)
    assert strip.grasp in strip.shown
    assert strip.source_score[:2] == pytest.approx(0.9)
    assert strip.target_score[2:] == pytest.approx(0.9)
    assert len(strip.panels) == len(strip.shown) <= 5


def test_perfect_answers_have_no_failures(rows):
    assert [kind.count for kind in failures(shown_rows(rows), grey, threshold=0.5)] == [0, 0]


def test_the_worst_false_positive_and_negative_come_first_one_of_an_execution(rows):
    scores = np.where(rows.cells, 0.9, 0.1)
    false, missed = np.flatnonzero(~rows.positive), np.flatnonzero(rows.positive)
    for rank, row in enumerate(false[[0, 5, 9, 14]]):
        scores[row, 3] = 0.95 - 0.1 * rank
    for rank, row in enumerate(missed[[1, 6, 11]]):
        scores[row] = 0.05 + 0.1 * rank
    found = choose_failures(shown_rows(rows, scores), 0.5)
    worst, failed, of = found["false positives"]
    keys = [(rows.episode[row], rows.camera[row], rows.instruction[row]) for row in worst]
    assert worst[0] == false[0]
    assert len(set(keys)) == len(keys) == 3
    assert (failed, of) == (4, len(rows))
    worst, failed, of = found["false negatives"]
    assert worst[0] == missed[1]
    assert (failed, of) == (3, len(missed))


def test_the_gallery_shows_no_row_twice_and_cameras_in_turn(rows):
    scores = np.where(rows.cells, 0.9, 0.1)
    camera = np.array(rows.camera, dtype=object)
    main, top = (np.flatnonzero(rows.positive & (camera == name)) for name in ("main", "top"))
    for rank, row in enumerate((*main, *top)):  # every row of main is worse than any of top
        scores[row] = 0.01 + 0.001 * rank
        scores[row, np.flatnonzero(~rows.cells[row])[0]] = 0.99 - 0.001 * rank
    found = choose_failures(shown_rows(rows, scores), 0.5)
    false, missed = (found[kind][0].tolist() for kind in ("false positives", "false negatives"))
    assert false[0] == main[0]
    assert [rows.camera[row] for row in false] == ["main", "top", "main"]
    assert [rows.camera[row] for row in missed] == ["main", "top", "main"]
    frames = [(rows.episode[row], rows.frame[row], rows.camera[row]) for row in (*false, *missed)]
    assert len(set(frames)) == len(frames) == 6


def test_a_miss_beside_a_bright_cell_elsewhere_says_that_no_cell_is_on_the_target(rows):
    scores = np.where(rows.cells, 0.9, 0.1)
    row = int(np.flatnonzero(rows.positive)[0])
    scores[row] = np.where(rows.cells[row], 0.2, 0.1)
    kind = failures(shown_rows(rows, scores), grey, threshold=0.5)[1]
    assert kind.worst[0].said == "no cell on the target, its best 0.20"
    scores[row, np.flatnonzero(~rows.cells[row])[0]] = 0.97
    kind = failures(shown_rows(rows, scores), grey, threshold=0.5)[0]
    assert kind.worst[0].said == "a cell off the target, score 0.97"


def test_a_failure_says_what_was_asked_said_and_true(rows):
    scores = np.where(rows.cells, 0.9, 0.1)
    row = int(np.flatnonzero(~rows.positive)[0])
    scores[row, 3] = 0.97
    kind = failures(shown_rows(rows, scores), grey, threshold=0.5)[0]
    assert kind.worst[0].asked == "take the blue cube"
    assert kind.worst[0].said == "relevant, score 0.97"
    assert kind.worst[0].true == "nothing asked for is relevant (approach)"
    assert kind.worst[0].place == f"episode {rows.episode[row]}, frame {rows.frame[row]}, {rows.camera[row]} camera"


@pytest.mark.parametrize("line", ["{no json}", "[1]", '{"kind": "train", "loss": 1.0}'])
def test_a_log_that_is_damaged_costs_its_figure_alone(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    run = replace(told(tmp_path, "."), path=tmp_path)
    book = draw_book([training_page(run, "mse", higher_is_better=False)], tmp_path / "book")
    assert [one.why for one in book.missing] == ["the run's log is damaged"]


def test_figures_that_miss_the_same_thing_are_named_in_one_note():
    why = ("the dataset could not be read", "set `root`")
    missing = (Missing("two_views", *why), Missing("failures", *why), Missing("training", "no curve", None))
    assert Book((), missing).notes == (
        "no picture of two views, failures: the dataset could not be read (set `root`)",
        "no picture of training: no curve",
    )


def test_a_frame_that_several_figures_show_is_decoded_once(tiny_manifest):
    frames = frames_of(open_source(tiny_manifest))
    assert frames(0, "main", 3) is frames(0, "main", 3)
    assert not np.array_equal(frames(0, "main", 3), frames(0, "main", 4))


def test_a_page_that_is_a_bug_is_not_hidden(tmp_path):
    def broken(path):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_book([Page("broken", broken)], tmp_path)
