"""run.json."""

import json

import pytest
from grounding_toys import r_spec, z_spec

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.record import RunRecord, installed_versions, read_record, source_commit, write_record


def record() -> RunRecord:
    return RunRecord(
        task="ground",
        seed=3,
        config={"steps": 3, "decoder": {"dim": 4}},
        features={"z": z_spec().to_json(), "r": r_spec().to_json()},
        index_ids={"z": ("0" * 16,), "r": ()},
        store="/s",
        manifest={"name": "m"},
        splits={"train": {"episodes": [1, 2], "examples": 9}},
        device="cpu",
        command=("vtt", "train"),
        versions=installed_versions(),
        commit=source_commit(),
    )


def test_a_record_comes_back_as_it_was(tmp_path):
    write_record(tmp_path / "run.json", record())
    assert read_record(tmp_path / "run.json") == record()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_record_knows_the_fingerprints_of_its_features():
    assert record().fingerprints == {"z": z_spec().fingerprint, "r": r_spec().fingerprint}
    assert record().to_json()["fingerprints"] == record().fingerprints
    assert record().spec("z") == z_spec()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"task": "ground"}', '{"schema": 99}'])
def test_a_damaged_or_newer_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"damaged|newer"):
        read_record(tmp_path / "run.json")


def test_a_record_is_plain_json():
    assert json.loads(json.dumps(record().to_json())) == record().to_json()
