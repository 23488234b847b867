"""What a smaller tier costs, on stores whose answer is known."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ManifestError, StoreCorrupt, StoreIncomplete, StoreMismatch
from visual_thought.pipeline.manifest import dump_manifest
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.pipeline.store.fidelity import measure_fidelity
from visual_thought.pipeline.store.sample import draw, features_of

from .tiers import KINDS, a_manifest, a_store
from .toys import ROWS, a_spec, fill, filled_store, flip, some_frames, some_values

ALL = 10**6


def tiers(found, feature=0):
    return {tier.tier: tier for tier in found.features[feature].tiers}


def test_a_float32_store_is_compared_with_every_smaller_tier(tmp_path):
    store, _ = filled_store(tmp_path / "a", tier="fp32")
    found = measure_fidelity(store.path, manifest=a_manifest())
    assert list(tiers(found)) == ["bf16", "int8", "bitshuffle-zstd"]
    (feature,) = found.features
    assert (feature.stored, feature.bytes_a_row, feature.rows, feature.tokens) == ("fp32", 48, 100, 300)
    bf16, int8, packed = feature.tiers
    assert (bf16.bytes_a_row, bf16.compression) == (24, 2)
    assert (int8.bytes_a_row, int8.compression) == (3 * (4 + 4), 2)
    assert 0 < bf16.relative_error < 2**-8
    assert 0 < int8.relative_error < 0.02 < 1 / 3 < int8.cosine_worst < int8.cosine_mean < 1
    assert (packed.cosine_worst, packed.relative_error, packed.token_error_worst) == (1, 0, 0)
    assert packed.compression == pytest.approx(48 / packed.bytes_a_row)


def test_the_numbers_are_those_of_a_real_conversion(tmp_path):
    """All rows of episode 2, and a scale measured on all rows of the others, either way."""
    source, _ = filled_store(tmp_path / "a", tier="fp32")
    simulated = tiers(measure_fidelity(source.path, manifest=a_manifest(), rows=ALL))
    for tier in ("bf16", "int8"):
        convert(source.path, tmp_path / tier, Target(tier=tier), manifest=a_manifest())
        real = measure_fidelity(source.path, other=tmp_path / tier, manifest=a_manifest(), rows=ALL)
        (found,) = real.features[0].tiers
        assert found.tier == tier
        for name in ("bytes_a_row", "compression", "cosine_mean", "cosine_worst", "relative_error"):
            assert getattr(found, name) == pytest.approx(getattr(simulated[tier], name), rel=1e-9)
    assert found.scale == "cubes (lab/cubes), split train, episodes 0-1"


def test_the_relative_error_is_that_of_numpy(tmp_path):
    source, values = filled_store(tmp_path / "a", tier="fp32")
    convert(source.path, tmp_path / "b", Target("hdf5", tier="int8"), manifest=a_manifest())
    back = FeatureStore.open(tmp_path / "b").read("z", range(200, 300)).numpy().astype(np.float64)
    (found,) = measure_fidelity(source.path, other=tmp_path / "b", manifest=a_manifest()).features[0].tiers
    x = values[200:].astype(np.float64)
    assert found.relative_error == pytest.approx(np.linalg.norm(back - x) / np.linalg.norm(x))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_store_can_be_asked(tmp_path, kind):
    store, _ = a_store(tmp_path / "b", kind, rows=200)
    found = measure_fidelity(store.path, rows=20)
    assert found.features[0].rows == 20
    assert all(tier.relative_error < 0.02 for tier in found.features[0].tiers)
    assert kind.split()[0] in found.render()
    json.dumps(found.to_json(), allow_nan=False)


def test_rows_of_training_episodes_are_never_measured_and_the_scale_sees_no_others(tmp_path):
    source, _ = filled_store(tmp_path / "a")
    feature = features_of(source)[source.resolve("z")]
    drawn = draw(source, feature, a_manifest(), usable=feature.finished, count=30, seed=1)
    again = draw(source, feature, a_manifest(), usable=feature.finished, count=30, seed=1)
    other = draw(source, feature, a_manifest(), usable=feature.finished, count=30, seed=2)
    episode = feature.table["episode_index"].to_numpy()
    assert len(set(drawn.rows.tolist())) == 30
    assert set(episode[drawn.rows].tolist()) == {2}
    assert set(episode[drawn.scale_rows].tolist()) == {0, 1}
    assert drawn.rows.tolist() == again.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_without_a_manifest_the_scale_is_measured_on_other_rows_if_there_are_any(tmp_path, rows):
    source, _ = filled_store(tmp_path / "a", rows=rows)
    feature = features_of(source)[source.resolve("z")]
    drawn = draw(source, feature, None, usable=feature.finished, count=512, seed=0)
    shared = set(drawn.rows.tolist()) & set(drawn.scale_rows.tolist())
    assert (len(drawn.rows) > 0, len(drawn.scale_rows) > 0, bool(shared)) == (True, True, rows == 1)


def test_only_finished_rows_are_drawn(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "a"), a_spec()
    fill(store, spec, some_frames(), some_values(spec), parts=[0, 2])
    (feature,) = measure_fidelity(store.path, rows=ALL).features
    assert feature.rows == (ROWS - 128) // 2
    empty = FeatureStore.create(tmp_path / "b")
    fill(empty, spec, some_frames(), some_values(spec), parts=[])
    with pytest.raises(StoreIncomplete, match="no row"):
        measure_fidelity(empty.path)


def test_rows_are_matched_by_frame_and_not_by_number(tmp_path):
    """The other store has a second index in front of or behind the first, and lacks a part."""
    source, _ = filled_store(tmp_path / "a", rows=200)
    convert(source.path, tmp_path / "b", Target(tier="fp32"))
    spec, other = a_spec(tier="fp32"), FeatureStore.open(tmp_path / "b")
    for start in (200, 300, 400):
        fill(other, spec, some_frames(50, start=start), 100 * some_values(spec, 50))
    (found,) = measure_fidelity(source.path, other=other.path, rows=ALL).features
    assert found.tiers[0].relative_error == 0
    array = next(array for array in other.arrays() if array.rows == 200)
    array.receipt_path(1).unlink()
    assert measure_fidelity(source.path, other=other.path, rows=ALL).features[0].rows == 64


def test_stores_of_other_features_are_not_compared(tmp_path):
    source, _ = filled_store(tmp_path / "a")
    store, spec = FeatureStore.create(tmp_path / "b"), a_spec(numerics=2)
    fill(store, spec, some_frames(), some_values(spec))
    with pytest.raises(StoreMismatch, match="none of the features"):
        measure_fidelity(source.path, other=store.path)


def test_a_manifest_without_held_out_or_training_rows_is_refused(tmp_path):
    source, _ = filled_store(tmp_path / "a")
    with pytest.raises(ManifestError, match="outside the training split"):
        measure_fidelity(source.path, manifest=a_manifest(train=(0, 1, 2), val=()))
    with pytest.raises(ManifestError, match="inside the training split"):
        measure_fidelity(source.path, manifest=a_manifest(train=(7,), val=(0,)))


def test_damage_is_an_error_and_no_number(tmp_path):
    source, _ = filled_store(tmp_path / "a")
    flip(source.arrays()[0].part_path(0), 99)
    with pytest.raises(StoreCorrupt):
        measure_fidelity(source.path, rows=ALL)


def test_an_error_without_bound_is_no_number_in_json(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "a"), a_spec(tier="fp32")
    fill(store, spec, some_frames(), np.full((ROWS, *spec.shape), 1e-45, np.float32))
    found = measure_fidelity(store.path)
    assert tiers(found)["bf16"].relative_error == 1  # too small for bf16: nothing is left
    assert math.isfinite(found.to_json()["features"][0]["tiers"][0]["relative_error"])


class TestCommand:
    def test_it_prints_a_table_or_json(self, tmp_path, capsys):
        source, _ = filled_store(tmp_path / "a", tier="fp32")
        dump_manifest(a_manifest(), tmp_path / "cubes.yaml")
        line = ["store", "fidelity", str(source.path), "--manifest", str(tmp_path / "cubes.yaml"), "--rows", "40"]
        assert run(line) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "outside the training split of cubes" in said.out
        assert [word in said.out for word in ("fp32 (stored)", "bf16", "int8", "bitshuffle-zstd")] == [True] * 4
        assert "int8 scale of 200 of 200 rows of training episodes of cubes" in said.out
        assert run([*line, "--json"]) == 0
        (feature,) = json.loads(capsys.readouterr().out)["features"]
        assert (feature["rows"], feature["tiers"][0]["tier"]) == (40, "bf16")

    def test_bad_input_is_one_clear_error(self, tmp_path, capsys):
        source, _ = filled_store(tmp_path / "a")
        assert run(["store", "fidelity", str(tmp_path / "no")]) == 3
        assert run(["store", "fidelity", str(source.path), str(tmp_path / "no")]) == 3
        assert run(["store", "fidelity", str(source.path), "--rows", "0"]) == 2
        assert run(["store", "fidelity", str(source.path), "--run", str(tmp_path / "no")]) == 2
        assert capsys.readouterr().out == ""

    def test_numbers_need_no_torch(self, tmp_path):
        source, _ = filled_store(tmp_path / "a", rows=20)
        code = (
            "import sys; from visual_thought.pipeline.cli import run; "
            f"code = run(['store', 'fidelity', {str(source.path)!r}]) "
            f"or run(['store', 'convert', {str(source.path)!r}, {str(tmp_path / 'b')!r}, '--format', 'hdf5']); "
            "heavy = {'torch', 'lerobot', 'transformers', 'zarr'} & set(sys.modules); "
            "sys.exit(f'loaded {heavy}' if heavy else code)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
