"""Micro-batches: less memory, the same step."""

import numpy as np
import pytest
import torch
from grounding_toys import config_for

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.journal import read_journal
from visual_thought.train.objectives.terms import Term, total
from visual_thought.train.run import train
from visual_thought.train.sampling import pieces
from visual_thought.train.step import counts_of, cut, weighed

CALM = {"decoder": {"dim": 16, "num_layers": 1, "num_heads": 2}, "log_freq": 1}  # no dropout


def losses(run_dir, contender="head"):
    lines = [line for line in read_journal(run_dir) if line["kind"] == "train" and line["contender"] == contender]
    return [line["loss"] for line in lines]


def bits(run_dir):
    return [path.read_bytes() for path in sorted((run_dir / "last").resolve().rglob("*.safetensors"))]


@pytest.mark.parametrize("count", [3, 16])
def test_micro_batches_make_the_step_of_the_whole_batch(toys_once, tmp_path, count):
    train(config_for(toys_once, str(tmp_path / "whole"), **CALM, steps=6, eval_freq=6))
    train(config_for(toys_once, str(tmp_path / "cut"), **CALM, steps=6, eval_freq=6, accumulate=count))
    for name in ("head", "instruction_blind", "linear_probe"):
        assert losses(tmp_path / "cut", name) == pytest.approx(losses(tmp_path / "whole", name), rel=1e-3)


def test_an_accumulating_run_resumes_to_the_same_bits(toys_once, tmp_path):
    options = {"accumulate": 3, "keep_last": 9, "ema_decay": 0.9, "controls": ["linear_probe"]}
    whole = train(config_for(toys_once, str(tmp_path / "run"), **options))
    expected = bits(whole.run_dir)
    for step in (10, 12):
        for path in (whole.run_dir / "checkpoints" / f"{step:06d}").rglob("*.safetensors"):
            path.write_bytes(b"torn")
    resumed = train(config_for(toys_once, str(tmp_path / "run"), **options, resume=True))
    assert bits(resumed.run_dir) == expected
    assert resumed.metrics == whole.metrics


def test_pieces_with_other_counts_weigh_as_they_count():
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    parts = [{"a": Term.mean(values[:2], 0.5), "b": Term.mean(values[:0])}]
    parts += [{"a": Term.mean(values[2:], 0.5), "b": Term.mean(values[4:])}]
    counts = {"a": 5, "b": 1}
    by_hand = 0.5 * (1 + 2 + 4 + 8 + 16) / 5 + 16.0
    assert float(sum(total(weighed(part, counts)) for part in parts)) == pytest.approx(by_hand)
    assert counts_of(parts[1]) == {"a": 3, "b": 1}


def test_a_term_over_nothing_in_the_whole_step_is_zero():
    empty = {"b": Term.mean(torch.zeros(0))}
    assert float(total(weighed(empty, {"b": 0}))) == 0.0


def test_pieces_cover_everything_once_and_are_about_equal():
    for things in range(1, 30):
        for count in range(1, things + 1):
            cuts = pieces(things, count)
            assert np.concatenate([np.arange(things)[piece] for piece in cuts]).tolist() == list(range(things))
            sizes = [piece.stop - piece.start for piece in cuts]
            assert max(sizes) - min(sizes) <= 1


def test_a_micro_batch_is_a_view_of_its_batch():
    batch = {"z": torch.randn(5, 2), "cell": torch.arange(5)}
    parts = cut(batch, 2)
    assert [part["cell"].tolist() for part in parts] == [[0, 1], [2, 3, 4]]
    assert parts[1]["z"].data_ptr() == batch["z"][2:].data_ptr()


@pytest.mark.parametrize("count", [0, 17])
def test_micro_batches_that_cannot_be_cut_are_refused(toys_once, count):
    with pytest.raises(ConfigError, match="accumulate"):
        config_for(toys_once, accumulate=count)
