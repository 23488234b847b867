"""A trained head on smaller tiers: the same metric, read through the tier or from a converted store."""

import json

import numpy as np
import pytest

from visual_thought.evaluate.fidelity import judge_tiers
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError, ManifestError, StoreIncomplete, StoreMismatch
from visual_thought.pipeline.manifest import load_manifest
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.train.journal import read_journal
from visual_thought.train.run import train

from .toy_run import make_store, train_config, write_manifest


@pytest.fixture(scope="module")
def eight(trained_once, tmp_path_factory):
    """The toy's store in int8."""
    path = tmp_path_factory.mktemp("eight") / "store"
    convert(trained_once / "store", path, Target(tier="int8"), manifest=load_manifest(trained_once / "tiny.yaml"))
    return path


@pytest.fixture(scope="module")
def judged(trained_once):
    return judge_tiers(trained_once / "run", trained_once / "store", device="cpu")


def test_the_stored_numbers_give_the_value_the_run_chose_its_checkpoint_by(trained_once, judged):
    step = int((trained_once / "run" / "best").resolve().name)
    (line,) = [
        line
        for line in read_journal(trained_once / "run")
        if line["kind"] == "validation" and (line["split"], line["contender"], line["step"]) == ("val", "head", step)
    ]
    assert judged.metric == "f_0_25"
    assert judged.value == pytest.approx(line["f_0_25"])
    assert judged.value > 0.5
    assert (judged.examples, judged.stored) == (40, {"z": "fp32", "r": "bf16"})


def test_every_smaller_tier_is_judged_and_changes_little(judged):
    assert [tier.tier for tier in judged.tiers] == ["bf16", "int8"]
    for tier in judged.tiers:
        assert tier.change == pytest.approx(tier.value - judged.value)
        assert abs(tier.change) < 0.05


def test_the_same_read_from_a_converted_store_is_what_was_simulated(trained_once, eight, judged):
    """All training rows fit the simulation's sample, so both have the same scale."""
    found = judge_tiers(trained_once / "run", trained_once / "store", other=eight, device="cpu")
    (tier,) = found.tiers
    assert tier.tier == "int8"
    assert tier.value == pytest.approx(judged.tiers[1].value, abs=1e-9)


def test_numbers_that_are_not_the_trained_ones_cost_the_head_what_it_knew(trained_once, tmp_path):
    """A control: a store of zeros in place of int8 must be seen in the metric."""
    store = FeatureStore.open(trained_once / "store")
    other = FeatureStore.create(tmp_path / "zeros")
    for array in store.arrays():
        for plan in plan_array(other, array.spec, store.index_table(array.index_id)):
            for part in plan.missing:
                shape = (len(plan.part_range(part)), *array.spec.shape)
                commit_part(other, plan, part, np.zeros(shape, array.meta.dtype))
    (tier,) = judge_tiers(trained_once / "run", store.path, other=other.path, device="cpu").tiers
    assert tier.change < -0.3


def test_a_run_trained_on_int8_is_judged_on_int8_alone(trained, eight):
    train(train_config(trained, out="small", store=eight, steps=2, eval_freq=1))
    found = judge_tiers(trained / "small", eight, device="cpu")
    assert (found.stored, found.tiers) == ({"z": "int8", "r": "int8"}, ())
    assert "as stored" in found.render()


def test_what_cannot_be_judged_is_one_clear_error(trained, tmp_path):
    store = trained / "store"
    with pytest.raises(ConfigError, match="no run"):
        judge_tiers(tmp_path, store)
    make_store(tmp_path / "other", numerics=2)
    with pytest.raises(StoreMismatch):
        judge_tiers(trained / "run", tmp_path / "other")
    with pytest.raises(StoreMismatch):
        judge_tiers(trained / "run", store, other=tmp_path / "other")
    write_manifest(trained, "noval", splits={"train": [0, 1], "val": [], "test": [2]})
    with pytest.raises(ManifestError, match="val"):
        judge_tiers(trained / "run", store, manifest=str(trained / "noval.yaml"))
    convert(store, tmp_path / "part", Target("hdf5"))
    for receipt in (tmp_path / "part").glob("receipts/*/z-*/000000.json"):
        receipt.unlink()
    with pytest.raises(StoreIncomplete):
        judge_tiers(trained / "run", store, other=tmp_path / "part")


def test_the_command_prints_numbers_and_metric_together(trained_once, eight, capsys):
    line = ["store", "fidelity", str(trained_once / "store"), "--run", str(trained_once / "run"), "--rows", "16"]
    assert run(line) == 0
    said = capsys.readouterr().out
    assert "outside the training split of tiny" in said
    assert "f_0_25 of the head on val, 40 examples" in said
    assert run([*line[:3], str(eight), *line[3:], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"]["tiers"][0]["tier"] == "int8"
    assert {tier["tier"] for feature in found["features"] for tier in feature["tiers"]} == {"int8"}
