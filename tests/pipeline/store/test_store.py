import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from visual_thought.pipeline.errors import ConfigError, StoreCorrupt, StoreError, StoreMismatch
from visual_thought.pipeline.store import FeatureStore, plan_array
from visual_thought.pipeline.store.index import to_parquet
from visual_thought.pipeline.store.repair import repair

from .toys import (
    a_spec,
    filled_store,
    flip,
    overwrite,
    read_all,
    some_frames,
    some_queries,
)


def test_a_store_is_created_once_and_opened_ever_after(tmp_path):
    path = tmp_path / "deep" / "store"
    FeatureStore.create(path)
    text = (path / "vtt.json").read_bytes()
    assert json.loads(text) == {"kind": "visual_thought feature store", "needs": "0.1", "schema": 1}
    assert FeatureStore.create(path).features() == {}
    assert FeatureStore.open(str(path)).path == path
    assert (path / "vtt.json").read_bytes() == text


def test_a_store_may_be_created_by_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FeatureStore.create("a/store").features() == {}
    assert (tmp_path / "a" / "store" / "vtt.json").exists()


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore.open(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        FeatureStore.create(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_schema_is_refused_and_says_what_it_needs(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    newer = {"kind": "visual_thought feature store", "needs": "0.9", "schema": 2, "layout": "other"}
    overwrite(store.layout.schema_file, json.dumps(newer).encode())
    for enter in (FeatureStore.open, FeatureStore.create):
        with pytest.raises(StoreError, match=r"newer release[\s\S]*needs visual-thought >= 0\.9"):
            enter(store.path)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"{", b'{"kind": "other", "schema": 9, "needs": "1"}', b"\xff"])
def test_another_schema_file_is_refused_until_the_store_is_repaired(tmp_path, text):
    store = FeatureStore.create(tmp_path / "store")
    overwrite(store.layout.schema_file, text)
    for enter in (FeatureStore.open, FeatureStore.create):
        with pytest.raises(StoreCorrupt, match=rf"damaged[\s\S]*vtt store repair {store.path}"):
            enter(store.path)
    assert repair(store.path).ok
    FeatureStore.open(store.path)


def test_every_flipped_bit_of_the_schema_file_is_refused(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    path = store.layout.schema_file
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(StoreError):
            FeatureStore.open(store.path)
        flip(path, bit)
    FeatureStore.open(store.path)


def test_features_are_keyed_by_name_and_fingerprint(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    ((key, spec),) = store.features().items()
    assert key == f"z-{spec.fingerprint[:8]}"
    assert spec.to_json() == a_spec().to_json()


class TestResolve:
    @pytest.fixture
    def store(self, tmp_path):
        """z by two computations, e by one."""
        store, _ = filled_store(tmp_path / "store")
        plan_array(store, a_spec(numerics=2), some_frames())
        plan_array(store, a_spec("e", shape=(5,)), some_frames())
        return store

    def test_a_name_means_its_one_key(self, store):
        assert store.resolve("e") == a_spec("e", shape=(5,)).key

    def test_a_key_means_itself(self, store):
        assert store.resolve(a_spec().key) == a_spec().key

    def test_two_fingerprints_under_one_name_are_listed_with_their_difference(self, store):
        with pytest.raises(ConfigError) as error:
            store.resolve("z")
        said = str(error.value)
        assert a_spec().key in said
        assert a_spec(numerics=2).key in said
        assert "numerics: 1 != 2" in said or "numerics: 2 != 1" in said

    def test_an_unknown_name_lists_what_there_is(self, store):
        with pytest.raises(ConfigError, match=r"no feature 'r'[\s\S]*e-"):
            store.resolve("r")

    def test_a_fingerprint_chooses_between_them(self, store):
        spec = a_spec(numerics=2)
        assert store.resolve("z", fingerprint=spec.fingerprint) == spec.key
        assert store.resolve("z", fingerprint=spec.compute) == spec.key

    def test_another_fingerprint_is_a_mismatch(self, store):
        with pytest.raises(StoreMismatch, match=f"{a_spec().fingerprint}[\\s\\S]*{'0' * 64}"):
            store.resolve(a_spec().key, fingerprint="0" * 64)

    def test_another_computation_is_a_mismatch_told_field_by_field(self, store):
        expected = dict(a_spec().compute) | {"weights": {"model.safetensors": "f" * 64}, "tap": "last"}
        with pytest.raises(StoreMismatch) as error:
            store.resolve(a_spec().key, fingerprint=expected)
        assert "tap: (absent) != last" in str(error.value)
        assert f"weights.model.safetensors: {'0' * 64} != {'f' * 64}" in str(error.value)
        assert error.value.exit_code == 4


def test_the_index_has_one_row_a_feature_row(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    index = store.index("z")
    assert index.num_rows == 300
    assert index.column_names == ["repo_id", "revision", "episode_index", "frame_index", "camera", "timestamp_s"]
    spec = a_spec("q", per="query")
    plan_array(store, spec, some_queries(10))
    assert store.index("q").column_names[-1] == "instruction"
    assert store.index("q").num_rows == 20


def test_an_index_of_other_rows_under_the_same_id_is_refused(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    (array,) = store.arrays()
    overwrite(store.layout.index_file(array.index_id), to_parquet(store.index("z").slice(0, 299)))
    with pytest.raises(StoreCorrupt, match="other rows"):
        FeatureStore.open(store.path).reader("z")


def test_an_array_longer_than_its_index_is_refused(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    (array,) = store.arrays()
    longer = type(array.meta)(array.spec, array.index_id, 301)
    overwrite(array.path / array.format.metadata_name, array.format.describe(longer))
    with pytest.raises(StoreCorrupt, match="not as long as its index"):
        store.reader("z")


def test_two_features_under_one_key_are_refused(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    plan = plan_array(store, a_spec(), some_frames(400))[-1]
    array = next(array for array in store.arrays() if array.index_id == plan.index_id)
    other = type(array.meta)(a_spec(tier="fp32"), array.index_id, array.rows)
    overwrite(array.path / array.format.metadata_name, array.format.describe(other))
    with pytest.raises(StoreMismatch, match="tier"):
        store.features()


def test_an_array_without_metadata_is_no_array(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    (store.layout.arrays / ("1" * 16) / "z-00000000.zarr").mkdir(parents=True)
    (store.layout.arrays / "lost+found").mkdir()
    assert len(store.arrays()) == 1


@pytest.mark.parametrize(("tier", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_read_returns_the_logical_type(tmp_path, tier, dtype):
    store, values = filled_store(tmp_path / "store", tier=tier)
    rows = [299, 0, 0, 128]
    found = store.read("z", rows)
    assert found.dtype == dtype
    assert found.view(torch.uint8).numpy().tobytes() == values[rows].tobytes()
    assert store.read("z", np.array([], np.int64)).shape == (0, 3, 4)
    with pytest.raises(IndexError, match="outside"):
        store.read("z", [300])


def test_a_feature_may_stay_unfinished_while_others_are_read(tmp_path):
    store, values = filled_store(tmp_path / "store")
    plan_array(store, a_spec("e", shape=(5,)), some_frames())
    assert read_all(store).tobytes() == values.tobytes()
    assert store.status("e") == (0, 300, {store.arrays()[0].index_id: ("000000", "000001", "000002")})


def test_the_store_needs_neither_torch_nor_zarr_to_be_imported():
    check = "import sys, visual_thought.pipeline.store; print({'torch', 'zarr', 'h5py', 'lerobot'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
