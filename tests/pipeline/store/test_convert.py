"""Conversions: bit for bit where nothing is given up, resumable, and refused before anything is written."""

import json
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import (
    ConfigError,
    Interrupted,
    MachineError,
    ManifestError,
    StoreCorrupt,
    StoreError,
    StoreIncomplete,
    StoreMismatch,
)
from visual_thought.pipeline.manifest import dump_manifest
from visual_thought.pipeline.store import FeatureStore, commit_part
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert, plan_conversion, require_space
from visual_thought.pipeline.store.tensors import encode_bf16

from .tiers import a_manifest, as_float32, framed_store, receipts, stored
from .toys import (
    FORMAT_NAMES,
    ROWS,
    a_spec,
    files_below,
    fill,
    filled_store,
    flip,
    some_frames,
    some_queries,
    some_values,
)

TIERS = ["bf16", "fp32"]
ZARR, HDF5, PACKED, INT8 = Target(), Target("hdf5"), Target(codec="bitshuffle-zstd"), Target(tier="int8")


def parts_of(store):
    """The bytes of every part's file."""
    return {
        (array.key, part): array.part_path(part).read_bytes()
        for array in store.arrays()
        for part in array.finished_parts()
    }


def refused(error, source, path, target, *, match=None, **options):
    """A conversion that is refused and leaves the target as it was."""
    before = files_below(path)
    with pytest.raises(error, match=match) as found:
        convert(source, path, target, **options)
    assert files_below(path) == before
    assert path.exists() == bool(before)
    return found.value


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


class TestInt8:
    @pytest.mark.parametrize("tier", TIERS)
    @pytest.mark.parametrize("form", FORMAT_NAMES)
    def test_every_number_is_within_half_a_step(self, tmp_path, tier, form):
        source, values = filled_store(tmp_path / "a", tier=tier)
        convert(source.path, tmp_path / "b", Target(form, tier="int8"), manifest=a_manifest())
        store, x = FeatureStore.open(tmp_path / "b"), as_float32(values)
        found = store.read("z", range(ROWS)).numpy()
        channel = store.arrays()[0].meta.channel_scale.array
        step = np.abs(x / channel).max(axis=-1, keepdims=True) / 127 * channel
        assert (np.abs(found - x) <= 0.5001 * step).all()
        assert (found != x).any()

    def test_the_scale_is_the_deviation_over_training_episodes_and_no_others(self, tmp_path):
        source, values = filled_store(tmp_path / "a", tier="fp32")
        convert(source.path, tmp_path / "b", INT8, manifest=a_manifest(train=(0, 2), val=(1,)))
        scale = FeatureStore.open(tmp_path / "b").arrays()[0].meta.channel_scale
        train = np.concatenate([values[:100], values[200:]]).reshape(-1, 4).astype(np.float64)
        np.testing.assert_allclose(scale.array, train.std(axis=0), rtol=1e-6)
        assert scale.rows == 200
        assert scale.measured_on == "cubes (lab/cubes), split train, episodes 0, 2"

    def test_numbers_of_other_episodes_do_not_move_the_scale(self, tmp_path):
        scales = []
        for name, factor in (("a", 1), ("b", 100)):
            store, spec = FeatureStore.create(tmp_path / name), a_spec(tier="fp32")
            values = some_values(spec)
            values[200:] *= factor
            fill(store, spec, some_frames(), values)
            convert(store.path, tmp_path / f"{name}8", INT8, manifest=a_manifest())
            scales.append(FeatureStore.open(tmp_path / f"{name}8").arrays()[0].meta.channel_scale)
        assert scales[0] == scales[1]

    def test_rows_of_another_dataset_are_not_training_rows(self, tmp_path):
        store, spec = FeatureStore.create(tmp_path / "a"), a_spec(tier="fp32")
        fill(store, spec, some_frames(), some_values(spec))
        fill(store, spec, some_frames(repo_id="lab/else"), 50 * some_values(spec))
        convert(store.path, tmp_path / "b", INT8, manifest=a_manifest())
        scales = {array.meta.channel_scale for array in FeatureStore.open(tmp_path / "b").arrays()}
        assert [scale.rows for scale in scales] == [200]
        assert max(next(iter(scales)).values) < 2

    def test_the_scale_that_is_there_is_kept_when_the_source_grows(self, tmp_path):
        source, _ = filled_store(tmp_path / "a", tier="fp32", rows=200)
        convert(source.path, tmp_path / "b", INT8, manifest=a_manifest())
        fill(source, a_spec(tier="fp32"), some_frames(100, start=200), 9 * some_values(a_spec(tier="fp32"), 100))
        done = convert(source.path, tmp_path / "b", INT8)
        assert [(f.parts_written, f.parts_reused) for f in done.features] == [(1, 2)]
        store = FeatureStore.open(tmp_path / "b")
        assert len({array.meta.channel_scale for array in store.arrays()}) == 1
        assert store.read("z", range(300)).isfinite().all()

    def test_a_scale_measured_on_what_is_now_a_test_episode_is_refused(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        convert(source.path, tmp_path / "b", INT8, manifest=a_manifest(train=(0, 1), val=(2,)))
        convert(source.path, tmp_path / "b", INT8, manifest=a_manifest(train=(0, 1, 2), val=()))
        options = {"manifest": a_manifest(train=(0, 2), val=(1,)), "match": "not trained on"}
        refused(StoreMismatch, source.path, tmp_path / "b", INT8, **options)

    def test_it_needs_a_manifest_with_training_episodes_in_the_store(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        refused(ConfigError, source.path, tmp_path / "b", INT8, match="needs a manifest")
        options = {"manifest": a_manifest(train=(7,), val=(8,)), "match": "no row of a training episode"}
        refused(ManifestError, source.path, tmp_path / "b", INT8, **options)

    def test_int8_comes_from_int8_unchanged_and_goes_nowhere_else(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        convert(source.path, tmp_path / "b", INT8, manifest=a_manifest())
        convert(tmp_path / "b", tmp_path / "c", Target("hdf5"))
        convert(tmp_path / "c", tmp_path / "d", INT8)
        b, d = FeatureStore.open(tmp_path / "b"), FeatureStore.open(tmp_path / "d")
        assert parts_of(b) == parts_of(d)
        assert b.arrays()[0].meta.channel_scale == d.arrays()[0].meta.channel_scale
        for tier in TIERS:
            refused(StoreError, tmp_path / "b", tmp_path / "e", Target(tier=tier), match="does not come back")

    @pytest.mark.parametrize(("row", "what"), [(10, "measured"), (290, "int8 cannot hold")])
    def test_a_nan_is_refused_with_its_part_and_row(self, tmp_path, row, what):
        store, spec = FeatureStore.create(tmp_path / "a"), a_spec()
        values = some_values(spec)
        values[row, 1, 1] = 0x7FC0
        fill(store, spec, some_frames(), values)
        part, inside = divmod(row, 128)
        with pytest.raises(StoreError, match=rf"part {part:06d} of z-[\s\S]*row {inside}: [\s\S]*NaN") as found:
            convert(store.path, tmp_path / "b", INT8, manifest=a_manifest())
        assert what in str(found.value)
        if (tmp_path / "b").exists():
            assert part not in FeatureStore.open(tmp_path / "b").arrays()[0].finished_parts()


class TestResuming:
    def test_a_second_run_converts_nothing(self, tmp_path):
        source = framed_store(tmp_path / "a")
        first = convert(source.path, tmp_path / "b", HDF5)
        before = files_below(tmp_path / "b")
        again = convert(source.path, tmp_path / "b", HDF5)
        assert (first.parts_written, again.parts_written) == (3, 0)
        assert "nothing to convert" in again.render()
        assert "nothing to convert" not in first.render()
        assert files_below(tmp_path / "b") == before

    def test_only_missing_parts_are_made(self, tmp_path):
        source = framed_store(tmp_path / "a")
        convert(source.path, tmp_path / "b", HDF5)
        whole, array = files_below(tmp_path / "b"), FeatureStore.open(tmp_path / "b").arrays()[0]
        times = {part: array.part_path(part).stat().st_ino for part in range(3)}
        array.receipt_path(1).unlink()
        array.part_path(1).unlink()
        done = convert(source.path, tmp_path / "b", HDF5)
        assert [(f.parts_written, f.parts_reused) for f in done.features] == [(1, 2)]
        assert files_below(tmp_path / "b") == whole
        assert {part: array.part_path(part).stat().st_ino == times[part] for part in (0, 2)} == {0: True, 2: True}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_after_a_part_and_the_next_run_finishes(self, tmp_path, number):
        source = framed_store(tmp_path / "a", part_rows=5)  # 60 parts
        convert(source.path, tmp_path / "whole", HDF5)

        def watch():
            while not list((tmp_path / "b").glob("receipts/*/*/*.json")):
                time.sleep(0.0005)
            os.kill(os.getpid(), number)

        watcher, before = threading.Thread(target=watch, daemon=True), signal.signal(number, lambda *_: None)
        watcher.start()
        try:
            with pytest.raises(Interrupted, match=number.name) as stopped:
                convert(source.path, tmp_path / "b", HDF5)
        finally:
            watcher.join()
            signal.signal(number, before)
        assert stopped.value.exit_code == 75
        there = len(FeatureStore.open(tmp_path / "b").arrays()[0].finished_parts())
        assert 1 <= there < 60
        assert f"after {there} of 60 parts" in str(stopped.value)
        convert(source.path, tmp_path / "b", HDF5)
        assert files_below(tmp_path / "b") == files_below(tmp_path / "whole")

    def test_an_unfinished_source_is_refused_unless_allowed(self, tmp_path):
        store, spec = FeatureStore.create(tmp_path / "a"), a_spec()
        values = some_values(spec)
        fill(store, spec, some_frames(), values, parts=[0, 2])
        error = refused(StoreIncomplete, store.path, tmp_path / "b", HDF5)
        assert "000001" in str(error)
        done = convert(store.path, tmp_path / "b", HDF5, allow_partial=True)
        assert [(f.parts_written, f.parts_left) for f in done.features] == [(2, 1)]
        assert "1 are not in the source" in done.render()
        fill(store, spec, some_frames(), values, parts=[1])
        convert(store.path, tmp_path / "b", HDF5)
        assert stored(FeatureStore.open(tmp_path / "b")).tobytes() == values.tobytes()


class TestRefusals:
    def test_a_store_is_not_converted_into_itself_or_a_folder_of_its_own(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        (tmp_path / "link").symlink_to(source.path)
        before = files_below(source.path)
        for path in (source.path, tmp_path / "link", source.path / "inside", tmp_path):
            with pytest.raises(StoreError, match="into itself"):
                convert(source.path, path, HDF5)
        assert files_below(source.path) == before

    def test_hdf5_has_no_lossless_codec(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        refused(StoreError, source.path, tmp_path / "b", Target("hdf5", codec="bitshuffle-zstd"), match="HDF5 cannot")

    @pytest.mark.parametrize("other", [HDF5, PACKED, Target(tier="fp32"), INT8])
    def test_a_target_in_another_format_codec_or_tier_is_left_alone(self, tmp_path, other):
        source, _ = filled_store(tmp_path / "a")
        convert(source.path, tmp_path / "b", ZARR)
        assert refused(StoreMismatch, source.path, tmp_path / "b", other, manifest=a_manifest()).exit_code == 4

    def test_a_target_that_has_the_rows_under_another_index_is_left_alone(self, tmp_path):
        source, _ = filled_store(tmp_path / "a", rows=300)
        target, _ = filled_store(tmp_path / "b", rows=200)
        refused(StoreMismatch, source.path, target.path, ZARR, match="another index")

    def test_a_folder_that_is_no_store_is_left_alone(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "mine.txt").write_text("keep me")
        refused(StoreError, source.path, tmp_path / "b", HDF5, match="no feature store")
        refused(StoreError, tmp_path / "b", tmp_path / "c", HDF5, match="no feature store")
        (tmp_path / "file").write_text("keep me")
        with pytest.raises(StoreError):
            convert(source.path, tmp_path / "file", HDF5)
        assert (tmp_path / "file").read_text() == "keep me"

    def test_an_unknown_feature_is_named(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        refused(ConfigError, source.path, tmp_path / "b", HDF5, match="'q'", features=("q",))

    def test_an_empty_store_has_nothing_to_convert(self, tmp_path):
        source = FeatureStore.create(tmp_path / "a")
        refused(ConfigError, source.path, tmp_path / "b", HDF5, match="no feature")

    def test_too_small_a_disk_is_said_before_anything_is_written(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        planned = plan_conversion(source, tmp_path / "b", source.arrays(), HDF5, {})
        assert planned.bytes_needed == 3 * 16384 + ROWS * 24
        require_space(planned)
        with pytest.raises(MachineError, match=rf"100 bytes free[\s\S]*{planned.bytes_needed} bytes") as found:
            require_space(replace(planned, free_bytes=100))
        assert found.value.exit_code == 5
        assert not (tmp_path / "b").exists()


class TestDamage:
    @pytest.mark.parametrize("form", FORMAT_NAMES)
    def test_a_damaged_part_is_never_converted(self, tmp_path, form):
        source, _ = filled_store(tmp_path / "a", store_format=form)
        path = source.arrays()[0].part_path(1)
        for bit in np.random.default_rng(0).integers(0, 8 * path.stat().st_size, 20).tolist():
            flip(path, bit)
            with pytest.raises(StoreCorrupt, match="000001"):
                convert(source.path, tmp_path / "b", PACKED)
            flip(path, bit)
        done = FeatureStore.open(tmp_path / "b").arrays()[0]
        assert done.finished_parts() == (0,)
        assert not done.part_path(1).exists()
        assert convert(source.path, tmp_path / "b", PACKED).parts_written == 2

    def test_a_missing_file_or_table_of_frames_is_said(self, tmp_path):
        source = framed_store(tmp_path / "a")
        array = source.arrays()[0]
        source.layout.frames_file(array.index_id, array.key, 0).unlink()
        with pytest.raises(StoreIncomplete, match=r"000000.parquet"):
            convert(source.path, tmp_path / "b", HDF5)
        array.part_path(0).unlink()
        with pytest.raises(StoreIncomplete, match=r"c\.0\.0\.0"):
            convert(source.path, tmp_path / "b", HDF5)

    def test_a_left_over_file_with_other_numbers_is_not_taken_for_the_part(self, tmp_path):
        source, _ = filled_store(tmp_path / "a")
        other, spec = FeatureStore.create(tmp_path / "b"), a_spec()
        fill(other, spec, some_frames(), some_values(spec, seed=1))
        for path in (tmp_path / "b").glob("receipts/*/*/*.json"):
            path.unlink()
        with pytest.raises(StoreCorrupt, match="holds other numbers"):
            convert(source.path, tmp_path / "b", ZARR)


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
