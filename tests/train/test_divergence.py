"""A loss that is no longer a number ends the run, and says what it ended on."""

import json

import pytest
import torch
from grounding_toys import config_for

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.run import train
from visual_thought.train.step import backward


def test_a_constant_learning_rate_too_high_ends_with_the_examples_it_ended_on(toys, monkeypatch):
    ended_on = {}

    def watched(run, racer, batch, step):
        ended_on.update({name: values.clone() for name, values in batch.items()})
        return backward(run, racer, batch, step)

    monkeypatch.setattr("visual_thought.train.loop.backward", watched)
    with pytest.raises(VisualThoughtError, match="not a finite number") as error:
        train(config_for(toys, optimizer={"lr": 1e30}, controls=[]))
    path = next((toys / "run").glob("nonfinite-*.json"))
    assert path.name in str(error.value)
    said = json.loads(path.read_text())
    assert len(said["examples"]) == 16
    store = FeatureStore.open(said["store"])
    for name, feature in said["features"].items():
        values = store.read(feature["key"], feature["rows"])
        assert torch.isfinite(values).all()
        assert torch.equal(values.float(), ended_on[name])
    index = store.index(said["features"]["z"]["key"]).take(said["features"]["z"]["rows"]).to_pylist()
    assert [{name: row[name] for name in said["examples"][0]} for row in index] == said["examples"]
