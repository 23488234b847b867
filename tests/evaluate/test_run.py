"""The whole stage on a real store and a real, short run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.run import evaluate
from visual_thought.pipeline.datasets.labels import decode_rle, read_labels
from visual_thought.pipeline.errors import ConfigError, ManifestError, StoreError, StoreMismatch, WeightsError
from visual_thought.pipeline.metrics.grounding import Counts, f_score
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.joins import frame_groups
from visual_thought.train.journal import read_journal
from visual_thought.train.loaded import load_run
from visual_thought.train.sampling import BLIND, EVALUATION_SEED, permute_within

from .toy_run import COARSE, HEIGHT, WIDTH, make_store, write_manifest

CHARTS = ("training", "threshold_sweep", "precision_recall")
OVERLAYS = ("grounding_two_views", "grounding_before_after", "grounding_typical")


def judge(folder: Path, **changes):
    options = {"runs": (folder / "run",), "out": folder / "report", "device": "cpu", "batch_size": 7} | changes
    return evaluate(EvalConfig(**options))


def numbers(report, name):
    return {c.name: c for c in report.runs[0].contenders}[name].scores


@pytest.fixture(scope="module")
def report(trained_once, tmp_path_factory):
    return judge(trained_once, out=tmp_path_factory.mktemp("report"), figures=False)


class Loop:
    """The test split, one row at a time, straight from store, labels and models."""

    def __init__(self, folder, name):
        labels = read_labels(folder / "labels.parquet").sort_by(
            [(key, "ascending") for key in ("episode_index", "frame_index", "camera", "instruction")]
        )
        self.labels, self.groups = labels.to_pylist(), frame_groups(labels)
        self.store = FeatureStore.open(folder / "store")
        self.z, self.r = self.store.index("z").to_pylist(), self.store.index("r").to_pylist()
        self.model = load_run(folder / "run").contenders[name].model

    def row_of(self, feature, label):
        index = self.z if feature == "z" else self.r
        keys = ["episode_index", "frame_index", "camera"] + ["instruction"] * (feature == "z")
        return next(i for i, row in enumerate(index) if all(row[key] == label[key] for key in keys))

    def answers(self, stand_in=None):
        """(label, logits, point) of every test row; ``stand_in[i]`` is the row whose Z row i reads."""
        for number, label in enumerate(self.labels):
            if label["episode_index"] != 2:
                continue
            asked = label if stand_in is None else self.labels[stand_in[number]]
            z = self.store.read("z", [self.row_of("z", asked)]).float()
            r = self.store.read("r", [self.row_of("r", label)]).float()
            with torch.inference_mode():
                scores = self.model(z, r)
            best = int(scores.scores[0].argmax())
            row, column = divmod(int(scores.candidates[0, best]), COARSE[1])
            inside = int(scores.refined[0, best].argmax())
            factor = 2 if scores.refined.shape[2] == 4 else 1
            x = (column * factor + inside % factor + 0.5) * WIDTH / (COARSE[1] * factor)
            y = (row * factor + inside // factor + 0.5) * HEIGHT / (COARSE[0] * factor)
            yield label, scores.coarse[0].numpy(), (x, y)


def counted(answers):
    """Counts, hits and point errors by loops over cells and rows."""
    tally, hit, error, alarms, negatives = dict.fromkeys(("tp", "fp", "fn", "tn"), 0), [], [], 0, 0
    for label, logits, (x, y) in answers:
        relevant = np.zeros(16, dtype=bool)
        if label["positive"]:
            mask = decode_rle(label["mask"], HEIGHT, WIDTH)
            areas = [mask[r * 12 : r * 12 + 12, c * 16 : c * 16 + 16].sum() for r in range(4) for c in range(4)]
            relevant = np.array([a / 192 >= 0.25 or a / mask.sum() >= 0.15 for a in areas])
            hit.append(mask[int(y), int(x)])
            error.append(np.hypot(x - label["point_x"], y - label["point_y"]))
        else:
            negatives += 1
            alarms += bool((logits >= 0).any())
        for said, true in zip(logits >= 0, relevant, strict=True):
            tally[("t" if said == true else "f") + ("p" if said else "n")] += 1
    return Counts(**tally), np.mean(hit), np.mean(error), alarms / negatives


@pytest.mark.parametrize("name", ["head", "linear_probe"])
def test_every_number_equals_a_loop_over_rows_read_one_by_one(trained_once, report, name):
    counts, hit_rate, error, alarms = counted(Loop(trained_once, name).answers())
    scores = numbers(report, name)
    assert scores.counts == counts
    assert scores.hit_rate == pytest.approx(hit_rate)
    assert scores.point_error_mean_px == pytest.approx(error)
    assert scores.false_alarm_rate == pytest.approx(alarms)


def test_the_blind_control_equals_a_loop_that_reads_the_permuted_query_of_the_same_frame(trained_once, report):
    loop = Loop(trained_once, "instruction_blind")
    stand_in = permute_within(loop.groups, np.random.default_rng([EVALUATION_SEED, BLIND, 0]))
    assert (stand_in != np.arange(len(stand_in))).any()
    counts, hit_rate, *_ = counted(loop.answers(stand_in))
    assert numbers(report, "instruction_blind").counts == counts
    assert numbers(report, "instruction_blind").hit_rate == pytest.approx(hit_rate)


def test_the_head_beats_the_controls_that_cannot_know_where_to_look(report):
    f = {contender.name: f_score(contender.scores.counts) for contender in report.runs[0].contenders}
    assert f["head"] > max(f["instruction_blind"], f["centre_prior"]) + 0.1
    assert list(f) == ["head", "instruction_blind", "linear_probe", "centre_prior"]


def test_the_validation_numbers_are_those_that_training_chose_its_best_checkpoint_by(trained_once, report):
    head = report.runs[0].head
    lines = [line for line in read_journal(trained_once / "run") if line["kind"] == "validation"]
    chosen = next(
        line
        for line in lines
        if (line["contender"], line["split"], line["step"]) == ("head", "val", report.runs[0].step)
    )
    assert f_score(head.val.counts) == pytest.approx(chosen["f_0_25"])
    assert head.losses["val"]["loss"] == pytest.approx(chosen["loss"], rel=1e-4)


def test_the_batch_size_changes_no_count(trained_once, report, tmp_path):
    whole = judge(trained_once, out=tmp_path, batch_size=1000, figures=False)
    assert [c.scores.counts for c in whole.runs[0].contenders] == [c.scores.counts for c in report.runs[0].contenders]


def test_the_files_say_what_the_report_says_and_are_the_same_bytes_again(trained_once, tmp_path):
    first = judge(trained_once, out=tmp_path, figures=False)
    written = (tmp_path / "metrics.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(first.to_json()))
    again = judge(trained_once, out=tmp_path, figures=False)
    assert (tmp_path / "metrics.json").read_text() == written.replace(first.made.date, again.made.date)
    assert "SIMULATED" in (tmp_path / "table.txt").read_text()
    assert (tmp_path / "table.md").read_text().startswith("## run")


def test_a_higher_threshold_calls_fewer_cells_positive_and_leaves_the_points_alone(trained_once, report, tmp_path):
    strict = judge(trained_once, out=tmp_path, threshold=0.9, figures=False).runs[0].head
    usual = report.runs[0].head
    assert strict.scores.counts.tp + strict.scores.counts.fp < usual.scores.counts.tp + usual.scores.counts.fp
    assert strict.scores.hit_rate == usual.scores.hit_rate


def test_two_runs_are_reported_side_by_side(trained, tmp_path):
    (trained / "run").rename(trained / "first")
    import shutil

    shutil.copytree(trained / "first", trained / "second", symlinks=True)
    both = judge(trained, runs=(trained / "first", trained / "second"))
    assert [run.run for run in both.runs] == ["first", "second"]
    assert (trained / "report/figures/first/threshold_sweep.png").exists()
    assert both.runs[1].figures == tuple(f"figures/second/{name}.png" for name in CHARTS)


def test_without_the_dataset_the_charts_are_drawn_and_the_report_says_what_is_missing_and_what_to_do(trained):
    run = judge(trained).runs[0]
    assert run.figures == tuple(f"figures/{name}.png" for name in CHARTS)
    (note,) = run.notes
    assert note.startswith(
        "no picture of grounding two views, grounding before after, grounding typical, filmstrip, fai"
    )
    assert "the dataset could not be read" in note


def test_with_the_dataset_the_examples_are_drawn_over_its_frames(trained, tiny_dataset):
    run = judge(trained, root=tiny_dataset).runs[0]
    assert not run.notes
    assert run.figures == tuple(f"figures/{name}.png" for name in (*CHARTS, *OVERLAYS, "filmstrip", "failures"))
    picture = np.asarray(Image.open(trained / "report/figures/grounding_two_views.png").convert("RGB"))
    assert picture.shape[1] == 1500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_a_missing_run_folder_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        judge(tmp_path)


def test_an_unknown_checkpoint_lists_the_ones_there_are(trained):
    with pytest.raises(ConfigError, match="no checkpoint '7'") as caught:
        judge(trained, checkpoint="7")
    assert "60" in str(caught.value)


def test_a_damaged_checkpoint_is_an_error_that_names_the_file(trained):
    file = (trained / "run/best").resolve() / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged") as caught:
        judge(trained)
    assert "model.safetensors" in str(caught.value)


def test_a_store_that_is_gone_is_an_error(trained):
    with pytest.raises(StoreError, match="is no feature store"):
        judge(trained, store=trained / "elsewhere")


def test_a_store_made_by_another_backbone_is_refused_field_by_field(trained):
    make_store(trained / "other", numerics=2)
    with pytest.raises(StoreMismatch) as caught:
        judge(trained, store=trained / "other")
    assert "numerics: 2 != 1" in str(caught.value)


def test_an_empty_split_is_an_error(trained):
    manifest = write_manifest(trained, splits={"train": [0], "val": [1], "test": []})
    with pytest.raises(ManifestError, match="the split `test` holds no example"):
        judge(trained, manifest=str(manifest))


@pytest.mark.parametrize(
    ("splits", "other"),
    [({"train": [1], "val": [2], "test": [0]}, "train"), ({"train": [0], "val": [2], "test": [1]}, "val")],
)
def test_a_test_split_that_the_run_has_already_seen_is_refused(trained, splits, other):
    manifest = write_manifest(trained, splits=splits)
    with pytest.raises(ManifestError, match=f"in the run's {other} split"):
        judge(trained, manifest=str(manifest))


def test_labels_that_changed_since_training_are_noted(trained):
    import pyarrow.parquet as pq

    table = pq.read_table(trained / "labels.parquet")
    pq.write_table(table, trained / "labels.parquet", compression="gzip")
    manifest = write_manifest(trained)
    run = judge(trained, manifest=str(manifest), figures=False).runs[0]
    assert any("not the ones the run was trained on" in note for note in run.notes)


@pytest.mark.parametrize(
    "changes",
    [{"threshold": 0.0}, {"threshold": 1.0}, {"batch_size": 0}, {"runs": ()}, {"runs": (Path("a"), Path("b/../a"))}],
)
def test_a_config_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(ConfigError):
        EvalConfig(**({"runs": (Path("run"),), "out": Path("out")} | changes))


def test_a_remote_store_gives_the_same_numbers(trained_once, report, tmp_path):
    url = StoreUrl(f"file://{(trained_once / 'store').absolute()}", tmp_path / "cache")
    away = judge(trained_once, out=tmp_path / "report", figures=False, store=url)
    assert away.runs[0].store == url
    for contender in report.runs[0].contenders:
        assert numbers(away, contender.name).to_json() == contender.scores.to_json()
