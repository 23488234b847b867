"""The store's rows beside the backbone's own, today."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.live.moved import moved, nearest
from visual_thought.evaluate.live.parity import draw, parity
from visual_thought.evaluate.live.tolerance import tolerance_of
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store.fidelity import through
from visual_thought.pipeline.store.int8 import ChannelScale

from .conftest import rewritten


def spec(dtype, tier):
    return FeatureSpec("r", "frame", (2, 2, 4), TokenLayout((2, 2)), ImageSpec(8, 8), tier, {"dtype": dtype})


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
    assert not (lab.run / "eval").exists()


def test_rows_of_other_frames_are_found_and_end_with_exit_code_3(lab, tmp_path, capsys):
    broken = rewritten(lab.store, tmp_path / "broken", "z", lambda rows: rows.roll(1, 0))
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


def test_of_a_teachers_maps_the_whole_map_of_a_channel_is_what_differences_are_measured_by():
    layout = TokenLayout((3, 4))
    y = FeatureSpec("y", "frame", (2, 3, 4), layout, ImageSpec(8, 8), "fp32", {"dtype": "fp32"})
    maps = np.ones((1, 2, 3, 4), np.float32)
    maps[:, :, 1] = 0.001  # as a map of directions is on the line of its corner
    off = maps.copy()
    off[0, 1, 1, 2] += 0.01
    assert moved(maps, off, y).relative == pytest.approx(0.01, rel=1e-3)
    assert moved(maps, off, y).cosine > 0.9999
    r = replace(y, shape=(3, 4, 2), layout=layout)
    tokens = maps.reshape(1, 3, 4, 2)
    off = tokens.copy()
    off[0, 2, 1] *= 1.5
    assert moved(tokens, off, r).relative == pytest.approx(0.5)


def test_a_row_that_int8_stores_is_not_off_from_any_row_that_it_would_store_alike():
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32) * np.linspace(0.1, 9, 16, dtype=np.float32)
    x[0, 0] = 0
    scale = ChannelScale(tuple(float(value) for value in x.std(axis=(0, 1))), 2, "these")
    stored = through(x, "int8", scale)
    assert np.abs(stored - x).max() > 0.01
    np.testing.assert_allclose(nearest(stored, x, scale), x, rtol=1e-5, atol=1e-6)
    step = np.abs(stored[1, 3] / scale.array).max() / 127 * scale.array[7]
    x[1, 3, 7] = stored[1, 3, 7] + 2 * step
    assert x[1, 3, 7] - nearest(stored, x, scale)[1, 3, 7] == pytest.approx(1.5 * step, rel=1e-4)


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
