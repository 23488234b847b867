"""Conversions that stop, are refused or meet damage: what is there stays, and the next run finishes."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from visual_thought.pipeline.errors import (
    ConfigError,
    Interrupted,
    MachineError,
    StoreCorrupt,
    StoreError,
    StoreIncomplete,
    StoreMismatch,
)
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert, plan_conversion, require_space

from .tiers import HDF5, INT8, PACKED, ZARR, a_manifest, framed_store, refused, stored
from .toys import FORMAT_NAMES, ROWS, a_spec, files_below, fill, filled_store, flip, some_frames, some_values


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
