"""Training reads every tier and format as it reads the store the tier was made from."""

from dataclasses import replace

import numpy as np
import pytest
from grounding_toys import config_for

from visual_thought.pipeline.datasets.splits import training_episodes
from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.manifest import SeededSplits, load_manifest
from visual_thought.pipeline.record import read_record
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.train.run import train


def weights(run_dir):
    return (run_dir / "last" / "model.safetensors").read_bytes()


@pytest.fixture
def converted(toys):
    """``converted(target)``: the toys' store in another tier or format."""

    def make(name, **target):
        manifest = load_manifest(toys / "toys.yaml")
        convert(toys / "store", toys / name, Target(**target), manifest=manifest)
        return toys / name

    return make


def test_a_head_learns_from_int8_what_it_learns_from_bf16(toys, converted):
    store = converted("eight", tier="int8")
    done = train(config_for(toys, store=store, steps=70, eval_freq=35))
    assert done.metrics["head"]["f_0_25"] > 0.9
    record = read_record(toys / "run" / "run.json")
    assert {spec["tier"] for spec in record.features.values()} == {"int8"}
    assert record.fingerprints == {
        spec.name: spec.fingerprint for spec in FeatureStore.open(toys / "store").features().values()
    }


def test_the_channels_scale_is_that_of_the_runs_own_training_episodes(toys, converted):
    store = FeatureStore.open(converted("eight", tier="int8"))
    train(config_for(toys, store=store.path, steps=1, eval_freq=1))
    (scale,) = {array.meta.channel_scale for array in store.arrays() if array.spec.name == "z"}
    assert read_record(toys / "run" / "run.json").splits["train"]["episodes"] == [0, 1, 2, 3]
    assert scale.measured_on.endswith("split train, episodes 0-3")
    assert scale.rows == 4 * 12 * 3


def test_splits_by_seed_are_drawn_over_labelled_episodes_as_training_draws_them(toys):
    manifest = replace(load_manifest(toys / "toys.yaml"), splits=SeededSplits(seed=3, val=0.2, test=0.2))
    alike = {training_episodes(manifest, stored) for stored in (range(6), [0], range(40))}
    assert len(alike) == 1
    assert alike.pop() < set(range(6))


@pytest.mark.slow
@pytest.mark.parametrize("target", [{"codec": "bitshuffle-zstd"}, {"store_format": "hdf5"}, {"tier": "fp32"}])
def test_a_conversion_that_loses_nothing_trains_the_same_weights_bit_for_bit(toys, converted, target):
    one = train(config_for(toys, out="one"))
    two = train(config_for(toys, out="two", store=converted("other", **target)))
    assert weights(one.run_dir) == weights(two.run_dir)


@pytest.mark.parametrize("residency", ["ram", "disk"])
def test_int8_gives_the_same_weights_wherever_its_rows_lie(toys, converted, residency):
    store = converted("eight", tier="int8")
    one = train(config_for(toys, out="one", store=store))
    two = train(config_for(toys, out="two", store=store, loader={"threads": 2, "residency": residency}))
    assert weights(one.run_dir) == weights(two.run_dir)


def test_a_damaged_row_of_int8_stops_the_training(toys, converted):
    array = next(array for array in FeatureStore.open(converted("eight", tier="int8")).arrays() if array.key[0] == "z")
    data = np.frombuffer(array.part_path(0).read_bytes(), np.uint8).copy()
    data[5] ^= 1
    array.part_path(0).chmod(0o640)
    array.part_path(0).write_bytes(data.tobytes())
    with pytest.raises(StoreCorrupt):
        train(config_for(toys, store=toys / "eight"))
