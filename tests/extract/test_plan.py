import json
from dataclasses import replace

import pytest

from visual_thought.extract.plan import plan
from visual_thought.extract.plan_text import plan_json, render
from visual_thought.extract.run import extract
from visual_thought.extract.space import human_bytes, require_space
from visual_thought.pipeline.errors import MachineError, StoreError
from visual_thought.pipeline.store import FeatureStore


def test_a_plan_counts_rows_parts_and_bytes_and_writes_nothing(config, tmp_path):
    planned = plan(config(image_size=(64, 64)))
    z, r = planned.features
    assert (z.rows, z.parts, z.missing) == (r.rows, r.parts, r.missing) == (135, 2, 2)
    numbers = 135 * 96 * 4 * ((1 + 4 + 16) + 16)
    assert numbers <= planned.bytes_missing <= numbers + 4 * 32768
    assert not planned.complete
    assert not (tmp_path / "store").exists()
    json.dumps(plan_json(planned), allow_nan=False)


def test_the_bytes_of_a_plan_cover_what_is_written(config):
    planned = plan(config())
    extract(config())
    store = planned.config.store
    written = sum(path.stat().st_size for path in store.rglob("*") if path.is_file() and "indexes" not in path.parts)
    assert written <= planned.bytes_missing


def test_a_plan_reads_no_weights(config, xvla_with):
    folder = xvla_with()
    (folder / "model.safetensors").write_bytes(b"hashed, never loaded")
    assert plan(config(checkpoint=str(folder))).features[0].missing == 2


def test_a_plan_names_every_field_in_which_a_stored_feature_differs(config):
    extract(config(features=("r",)))
    planned = plan(config(features=("r",), dtype="bf16", resize="letterbox"))
    (fields,) = planned.features[0].others.values()
    assert fields == ["dtype: fp32 != bf16", "image.resize: squash != letterbox"]
    assert all(field in render(planned) for field in fields)
    assert planned.features[0].missing == 2


def test_a_finished_plan_says_so(config):
    extract(config(features=("r",)))
    planned = plan(config(features=("r",)))
    assert planned.complete
    assert planned.bytes_missing == 0
    assert "nothing to extract" in render(planned)


def test_a_store_that_was_stopped_plans_the_rest(config):
    extract(config())
    store = FeatureStore.open(config().store)
    next(store.path.glob("receipts/*/z-*/000001.json")).unlink()
    z, r = plan(config()).features
    assert (z.missing, r.missing) == (1, 0)


def test_a_full_disk_is_named_with_what_would_fit(config):
    planned = replace(plan(config(keep_free_bytes=0)), free_bytes=300_000)
    with pytest.raises(MachineError, match="do not fit") as caught:
        require_space(planned)
    assert "300000 bytes" in caught.value.found
    assert str(planned.bytes_missing) in caught.value.expected
    assert "bf16" in caught.value.remedy
    stride = 2 * -(-planned.bytes_missing // 300_000)
    assert f"stride {stride} (now 2)" in caught.value.remedy
    require_space(replace(planned, free_bytes=planned.bytes_missing))


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (12_300, "12.3 kB"), (5.5e12, "5.5 TB")])
def test_bytes_are_written_as_people_read_them(count, text):
    assert human_bytes(count) == text


def test_a_folder_in_which_a_store_is_just_being_made_counts_as_empty(config, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".vtt.json.0123.tmp").touch()
    assert plan(config()).features[0].missing == 2
    (tmp_path / "store" / "notes.txt").touch()
    with pytest.raises(StoreError, match="is no feature store"):
        plan(config())
