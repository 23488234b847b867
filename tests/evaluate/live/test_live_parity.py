"""The store's rows beside the backbone's own, today."""

import json

import numpy as np
import pytest
import torch

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.live.parity import draw, parity
from visual_thought.evaluate.live.tolerance import tolerance_of
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode


def spec(dtype, tier):
    return FeatureSpec("r", "frame", (2, 2, 4), TokenLayout((2, 2)), ImageSpec(8, 8), tier, {"dtype": dtype})


def misplaced(store, folder):
    """A store that says the same of itself, but whose z rows are those of the row before."""
    broken = FeatureStore.create(folder)
    for name in ("z", "r"):
        table, feature = store.index(name), store.features()[store.resolve(name)]
        values = store.read(name, list(range(len(table))))
        values = values.roll(1, 0) if name == "z" else values
        for plan in plan_array(broken, feature, table):
            for part in plan.missing:
                rows = plan.part_range(part)
                commit_part(broken, plan, part, encode(values[rows.start : rows.stop], feature))
    return folder


def test_a_store_agrees_with_the_backbone_that_made_it(lab, capsys):
    assert run(["eval", str(lab.run), "--parity", "12", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["holds"]
    assert told["examples"] == 12
    for name in ("z", "r"):
        feature = told["features"][name]
        assert (feature["rows"], feature["dtype"], feature["tier"]) == (12, "bf16", "bf16")
        assert feature["tolerance"]["cosine"] <= feature["cosine"] <= 1
        assert feature["relative"] <= feature["tolerance"]["absolute"]
    assert abs(told["live"]["f_0_25"] - told["stored"]["f_0_25"]) < 0.2
    assert not (lab.run / "eval").exists()


def test_rows_of_other_frames_are_found_and_end_with_exit_code_3(lab, tmp_path, capsys):
    broken = misplaced(FeatureStore.open(lab.store), tmp_path / "broken")
    assert run(["eval", str(lab.run), "--parity", "12", "--store", str(broken)]) == 3
    told = capsys.readouterr().out
    assert "OUTSIDE tolerance: z, furthest off in episode 2" in told
    assert "r, furthest" not in told


def test_a_dataset_of_other_pixels_is_not_blamed_on_the_backbone(lab, tiny_pictures, capsys):
    assert run(["eval", str(lab.run), "--parity", "4", "--root", str(tiny_pictures)]) == 3
    assert "the dataset's frames are not the ones the store was made from" in capsys.readouterr().err


def test_the_same_seed_draws_the_same_rows_and_never_more_than_there_are(lab):
    numbers = np.arange(40)
    assert draw(numbers, 8, 1).tolist() == draw(numbers, 8, 1).tolist() != draw(numbers, 8, 2).tolist()
    assert draw(numbers, 100, 1).tolist() == numbers.tolist()


def test_what_is_reported_is_the_loop_over_tokens(lab):
    found = parity(EvalConfig(runs=(lab.run,), out=lab.run), lab.run, rows=3)
    again = parity(EvalConfig(runs=(lab.run,), out=lab.run), lab.run, rows=3)
    assert [one.cosine for one in found.features] == [one.cosine for one in again.features]
    for one in found.features:
        assert one.absolute >= 0
        assert one.equal <= one.rows == 3
        assert one.holds


@pytest.mark.parametrize(("dtype", "tier"), [("fp32", "fp32"), ("bf16", "bf16"), ("bf16", "int8")])
def test_a_tolerance_lets_one_rounding_of_its_type_pass_and_a_tenth_of_a_token_not(dtype, tier):
    x = torch.randn(256, generator=torch.Generator().manual_seed(0))
    rounded = x.bfloat16().float() if dtype == "bf16" else x * (1 + 2**-24)
    tolerance = tolerance_of(spec(dtype, tier))
    noise = torch.randn(256, generator=torch.Generator().manual_seed(1))
    off = x + 0.1 * x.norm() * noise / noise.norm()
    assert torch.cosine_similarity(x, rounded, dim=0) >= tolerance.cosine
    assert torch.cosine_similarity(x, off, dim=0) < tolerance.cosine
    assert (x - rounded).abs().max() / x.abs().max() <= tolerance.absolute


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--parity", "0"], "parity needs rows"),
        (["--backbone", "xvla=x"], "--backbone belongs to --parity"),
        (["--parity", "2", "--backbone", "dinov2=x"], "a backbone was named that the run does not need"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(lab, capsys, options, problem):
    assert run(["eval", str(lab.run), *options]) == 2
    assert problem in capsys.readouterr().err
