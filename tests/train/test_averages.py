"""The moving average of the weights: judged, saved and loaded in the place of the weights themselves."""

import shutil

import pytest
import torch
from grounding_toys import config_for
from safetensors.torch import load_file

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.averages import average_of, decay_at, follow
from visual_thought.train.loaded import load_run
from visual_thought.train.run import train
from visual_thought.train.tasks.ground import GroundTask

OPTIONS = {"ema_decay": 0.8, "controls": ["linear_probe"], "keep_last": 9, "save_freq": 1}


@pytest.fixture(scope="module")
def averaged(toys_once, tmp_path_factory):
    return train(config_for(toys_once, str(tmp_path_factory.mktemp("runs") / "averaged"), **OPTIONS))


def test_an_average_is_the_recursion_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    model.register_buffer("seen", torch.zeros(1))
    model.weight.data.fill_(1.0)
    average, by_hand = average_of(model), 1.0
    for step, value in enumerate((2.0, -3.0, 5.0, 5.0)):
        model.weight.data.fill_(value)
        model.seen.fill_(value)
        follow(average, model, step=step, decay=0.25)
        decay = min(0.25, (step + 2) / (step + 11))
        by_hand = decay * by_hand + (1 - decay) * value
        assert float(average.weight) == pytest.approx(by_hand)
        assert float(average.seen) == value
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_first_weights_are_forgotten_at_once_and_the_decay_is_reached():
    assert decay_at(0, 0.999) == 0.1
    assert decay_at(10**6, 0.999) == 0.999
    assert decay_at(0, 0.05) == 0.05


def test_what_a_run_loads_is_the_average_of_the_weights_that_took_the_steps(averaged):
    folders = [averaged.run_dir / "checkpoints" / f"{step:06d}" for step in (11, 12)]
    before, after = (load_file(folder / "model.safetensors") for folder in folders)
    weights = load_file(folders[1] / "training_state" / "weights" / "head.safetensors")
    loaded = load_run(averaged.run_dir, "last").model.state_dict()
    decay = min(0.8, 13 / 22)
    for name, value in weights.items():
        torch.testing.assert_close(loaded[name], decay * before[name] + (1 - decay) * value)
        assert torch.equal(loaded[name], after[name])
    assert any(not torch.equal(value, after[name]) for name, value in weights.items())


def test_what_is_validated_is_the_average(toys_once, tmp_path, monkeypatch):
    judged, observe = {}, GroundTask.observe

    def watched(task, model, batch):
        judged[type(model).__name__] = {name: value.clone() for name, value in model.state_dict().items()}
        return observe(task, model, batch)

    monkeypatch.setattr(GroundTask, "observe", watched)
    done = train(config_for(toys_once, str(tmp_path / "run"), **OPTIONS))
    loaded = load_run(done.run_dir, "last").model
    stepped = load_file(done.run_dir / "last" / "training_state" / "weights" / "head.safetensors")
    found = judged[type(loaded).__name__]
    assert all(torch.equal(found[name], value) for name, value in loaded.state_dict().items())
    assert any(not torch.equal(found[name], value) for name, value in stepped.items())


def test_an_averaged_run_resumes_to_the_same_bits(toys_once, averaged, tmp_path):
    run = shutil.copytree(averaged.run_dir, tmp_path / "run", symlinks=True)
    for step in range(8, 13):
        shutil.rmtree(run / "checkpoints" / f"{step:06d}")
    resumed = train(config_for(toys_once, str(run), **OPTIONS, resume=True))
    for path in sorted(averaged.run_dir.glob("checkpoints/000012/**/*.safetensors")):
        assert (run / path.relative_to(averaged.run_dir)).read_bytes() == path.read_bytes(), path
    assert resumed.metrics == averaged.metrics


def test_an_average_does_not_change_the_steps(toys_once, averaged, tmp_path):
    plain = train(config_for(toys_once, str(tmp_path / "plain"), **OPTIONS | {"ema_decay": 0.0}))
    model = (plain.run_dir / "last" / "model.safetensors").read_bytes()
    assert (averaged.run_dir / "last" / "training_state" / "weights" / "head.safetensors").read_bytes() == model
    assert not (plain.run_dir / "last" / "training_state" / "weights").exists()


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_that_is_none_is_refused(toys_once, decay):
    with pytest.raises(ConfigError, match="ema_decay"):
        config_for(toys_once, ema_decay=decay)
