"""Conversions to int8: whose numbers its scale is measured on, and what it cannot hold."""

import numpy as np
import pytest

from visual_thought.pipeline.errors import ConfigError, ManifestError, StoreError, StoreMismatch
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert

from .tiers import INT8, TIERS, a_manifest, as_float32, parts_of, refused
from .toys import FORMAT_NAMES, ROWS, a_spec, fill, filled_store, some_frames, some_values


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
