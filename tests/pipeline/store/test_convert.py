"""Conversions: bit for bit where nothing is given up, rounded as torch does where it is, and the command."""

import json

import numpy as np
import pytest
import torch

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.manifest import dump_manifest
from visual_thought.pipeline.store import FeatureStore, commit_part
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.pipeline.store.tensors import encode_bf16

from .tiers import HDF5, PACKED, TIERS, ZARR, a_manifest, as_float32, framed_store, parts_of, receipts, stored
from .toys import FORMAT_NAMES, a_spec, files_below, fill, filled_store, some_frames, some_queries, some_values


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("there", [HDF5, PACKED])
def test_there_and_back_again_is_bit_for_bit(tmp_path, tier, there):
    source = framed_store(tmp_path / "a", tier=tier)
    convert(source.path, tmp_path / "b", there)
    convert(tmp_path / "b", tmp_path / "c", ZARR)
    between, back = FeatureStore.open(tmp_path / "b"), FeatureStore.open(tmp_path / "c")
    assert parts_of(back) == parts_of(source) != parts_of(between)
    assert stored(between).tobytes() == stored(source).tobytes()
    for name, receipt in receipts(source).items():
        assert receipts(back)[name].describes_as(receipt)
        assert receipts(between)[name].row_crc32c == receipt.row_crc32c
    unsaid = [{k: v for k, v in files_below(s.path).items() if not k.endswith(".json")} for s in (source, back)]
    assert unsaid[0] == unsaid[1]


def test_hdf5_comes_back_bit_for_bit_too(tmp_path):
    source = framed_store(tmp_path / "a", store_format="hdf5")
    convert(source.path, tmp_path / "b", ZARR)
    convert(tmp_path / "b", tmp_path / "c", HDF5)
    assert parts_of(FeatureStore.open(tmp_path / "c")) == parts_of(source)


def test_frames_and_what_receipts_tell_come_along(tmp_path):
    source = framed_store(tmp_path / "a")
    convert(source.path, tmp_path / "b", HDF5)
    convert(tmp_path / "b", tmp_path / "c", PACKED)
    back = FeatureStore.open(tmp_path / "c")
    assert back.frames("z").equals(source.frames("z"))
    first, second = receipts(source), receipts(FeatureStore.open(tmp_path / "b"))
    for name, receipt in receipts(back).items():
        history = [
            {"sha256": first[name].sha256, "format": "zarr", "tier": "bf16", "codec": "none"},
            {"sha256": second[name].sha256, "format": "hdf5", "tier": "bf16", "codec": "none"},
        ]
        assert receipt.info == first[name].info | {"converted_from": history}


def test_a_story_too_long_for_a_receipt_is_cut_to_its_last_step(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "a"), a_spec()
    plan = fill(store, spec, some_frames(10), some_values(spec, 10), parts=[])
    commit_part(store, plan, 0, some_values(spec, 10), info={"log": "x" * 16300})
    convert(store.path, tmp_path / "b", ZARR)
    ((name, receipt),) = receipts(FeatureStore.open(tmp_path / "b")).items()
    assert list(receipt.info) == ["converted_from"]
    assert receipt.info["converted_from"][0]["sha256"] == receipts(store)[name].sha256


@pytest.mark.parametrize("form", FORMAT_NAMES)
def test_fp32_becomes_bf16_as_torch_rounds_it(tmp_path, form):
    source, values = filled_store(tmp_path / "a", tier="fp32")
    convert(source.path, tmp_path / "b", Target(form, tier="bf16"))
    found = stored(FeatureStore.open(tmp_path / "b"))
    assert found.dtype == np.uint16
    assert (found == encode_bf16(torch.from_numpy(values))).all()


@pytest.mark.parametrize("form", FORMAT_NAMES)
def test_bf16_becomes_fp32_exactly(tmp_path, form):
    source, values = filled_store(tmp_path / "a", tier="bf16")
    convert(source.path, tmp_path / "b", Target(form, tier="fp32"))
    assert stored(FeatureStore.open(tmp_path / "b")).tobytes() == as_float32(values).tobytes()
    assert FeatureStore.open(tmp_path / "b").features().keys() == source.features().keys()


def test_nan_and_infinity_are_numbers_like_others_where_a_tier_has_them(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "a"), a_spec(tier="fp32")
    values = some_values(spec)
    values[7, 0, :3] = np.nan, np.inf, -np.inf
    fill(store, spec, some_frames(), values)
    convert(store.path, tmp_path / "b", Target(tier="bf16"))
    found = as_float32(stored(FeatureStore.open(tmp_path / "b")))
    np.testing.assert_array_equal(found[7, 0, :3], values[7, 0, :3])
    for name, receipt in receipts(FeatureStore.open(tmp_path / "b")).items():
        assert (receipt.nan_count, receipt.inf_count) == (
            receipts(store)[name].nan_count,
            receipts(store)[name].inf_count,
        )


def test_a_number_that_would_become_infinite_is_refused_with_its_part_and_row(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "a"), a_spec(tier="fp32")
    values = some_values(spec)
    values[130, 2, 3] = 3.4e38
    fill(store, spec, some_frames(), values)
    with pytest.raises(StoreError, match=r"part 000001 .* row 2: .* too large for bf16"):
        convert(store.path, tmp_path / "b", Target(tier="bf16"))
    assert FeatureStore.open(tmp_path / "b").arrays()[0].finished_parts() == (0,)


def test_features_are_chosen_by_name_and_queries_come_along(tmp_path):
    store = FeatureStore.create(tmp_path / "a")
    z, r = a_spec("z", per="query"), a_spec("r", tier="fp32")
    fill(store, z, some_queries(40), some_values(z, 80))
    fill(store, r, some_frames(40), some_values(r, 40))
    convert(store.path, tmp_path / "b", HDF5, features=("r",))
    assert [array.spec.name for array in FeatureStore.open(tmp_path / "b").arrays()] == ["r"]
    done = convert(store.path, tmp_path / "b", HDF5)
    assert [(f.key[0], f.tier, f.parts_written) for f in done.features] == [("r", "fp32", 0), ("z", "bf16", 1)]
    assert FeatureStore.open(tmp_path / "b").index("z").equals(store.index("z"))


class TestCommand:
    def test_it_prints_a_table_or_json_and_says_when_nothing_is_left(self, tmp_path, capsys):
        source, _ = filled_store(tmp_path / "a", tier="fp32")
        dump_manifest(a_manifest(), tmp_path / "cubes.yaml")
        line = ["store", "convert", str(source.path), str(tmp_path / "b"), "--tier", "int8"]
        assert run([*line, "--manifest", str(tmp_path / "cubes.yaml"), "--json"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        (feature,) = json.loads(said.out)["features"]
        assert (feature["source_tier"], feature["tier"], feature["parts_written"]) == ("fp32", "int8", 3)
        assert feature["scale"] == "cubes (lab/cubes), split train, episodes 0-1 (200 rows)"
        assert run(line) == 0
        assert "nothing to convert" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "code", "word"),
        [
            (["--format", "sqlite"], 2, "sqlite"),
            (["--tier", "fp16"], 2, "fp16"),
            (["--codec", "gzip"], 2, "gzip"),
            (["--tier", "int8"], 2, "manifest"),
            (["--format", "hdf5", "--codec", "bitshuffle-zstd"], 3, "HDF5"),
            (["--features", "q"], 2, "'q'"),
        ],
    )
    def test_bad_options_are_one_clear_error_and_write_nothing(self, tmp_path, capsys, options, code, word):
        source, _ = filled_store(tmp_path / "a")
        assert run(["store", "convert", str(source.path), str(tmp_path / "b"), *options]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert word in said.err
        assert not (tmp_path / "b").exists()
