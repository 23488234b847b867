"""The model card: what the Hub reads of it, what people read in it, and what is not in it."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
from grounding_toys import config_for, r_spec, write_manifest, z_spec
from huggingface_hub import ModelCard

from visual_thought.pipeline.errors import Interrupted
from visual_thought.pipeline.record import RunRecord, read_record
from visual_thought.train.card import update_card, write_card
from visual_thought.train.journal import read_journal
from visual_thought.train.outcome import best_steps, read_outcome
from visual_thought.train.run import train

MADE = (
    "vtt extract /lab/toys.yaml --store /lab/s --backbone lerobot/xvla-base --revision 1a2b3c --backbone dinov2=/w/dino"
)


@pytest.fixture(scope="module")
def done(toys_once, tmp_path_factory):
    return train(config_for(toys_once, str(tmp_path_factory.mktemp("runs") / "mine")))


def card_of(run_dir, **changes):
    data = read_record(run_dir / "run.json").to_json()
    manifest = data["manifest"] | changes.pop("manifest", {})
    record = RunRecord.from_json(data | {"manifest": manifest} | changes)
    outcome = read_outcome(run_dir, best_steps(run_dir, ("head", "instruction_blind", "linear_probe")))
    return write_card(record, outcome, name="mine", source="lab/mine")


def test_a_training_ends_with_a_card_that_the_hub_can_read(done):
    card = ModelCard.load(done.run_dir / "README.md")
    said = card.data.to_dict()
    assert said["library_name"] == "visual-thought"
    assert said["license"] == "apache-2.0"
    assert {"robotics", "ground", "simulation"} <= set(said["tags"])
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    expected = {name: value for name, value in done.metrics["head"].items() if name != "step"}
    assert found == expected
    assert "datasets" not in said  # this one is on no Hub


def test_it_says_what_was_trained_on_what_and_how_good_it_is_beside_its_controls(done):
    text = (done.run_dir / "README.md").read_text()
    for spec in (z_spec(), r_spec()):
        assert spec.key in text
        assert spec.fingerprint in text
    assert "Validation split: 1 episode, 36 examples of SIMULATED frames." in text
    for name, label in (("head", "**head**"), ("linear_probe", "control `linear_probe`")):
        values = done.metrics[name]
        assert f"| {label} | {values['step']} | {values['f_0_25']:.4g} |" in text
    assert "The frames are SIMULATED" in text
    assert "- train: 4 episodes, 144 examples" in text
    assert "hard_negatives: 10" in text
    assert "The dataset `toys/cubes`: apache-2.0." in text


def test_it_names_the_backbone_and_its_revision_where_the_store_knows_them(done):
    text = card_of(done.run_dir, made_by={"z": MADE, "r": MADE}, manifest={"revision": "9f8e"})
    said = ModelCard(text).data.to_dict()
    assert said["base_model"] == ["lerobot/xvla-base"]
    assert said["datasets"] == ["toys/cubes"]
    assert "- backbone `lerobot/xvla-base` at `1a2b3c`" in text
    assert "- dataset `toys/cubes` at `9f8e`" in text
    assert "/lab" not in text
    assert "/w/" not in text


def test_no_text_of_a_manifest_or_a_command_becomes_markup(done):
    hostile = "]\n# Heading <script>`|`"
    text = card_of(done.run_dir, manifest={"licence": hostile, "cameras": [hostile]}, command=["vtt", "```\n# Heading"])
    assert "<script>" not in text.split("---", 2)[2].replace("`] # Heading <script>`", "")
    assert "\n# Heading" not in text
    assert ModelCard(text).data.license == "other"


def test_a_card_that_somebody_took_over_stays(done, tmp_path):
    run = shutil.copytree(done.run_dir, tmp_path / "run", symlinks=True)
    (run / "README.md").write_text("# our own words")
    assert not update_card(run)
    assert (run / "README.md").read_text() == "# our own words"


def test_a_run_without_controls_says_that_it_compares_with_nothing(toys, tmp_path):
    write_manifest(toys, simulated=False, licence="lab use only")
    run = train(config_for(toys, controls=[], steps=2)).run_dir
    text = (run / "README.md").read_text()
    assert "No control was trained beside it" in text
    assert "SIMULATED" not in text
    assert ModelCard(text).data.to_dict()["license_name"] == "lab-use-only"


def test_a_stopped_run_has_a_card_once_it_has_a_best_checkpoint(toys, tmp_path):
    config = config_for(toys, controls=[], steps=4000, eval_freq=5, log_freq=1)

    def watch():
        while not any(line["kind"] == "validation" for line in read_journal(config.out)):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(Interrupted):
        train(config)
    assert "Validation split" in (config.out / "README.md").read_text()


def test_a_run_without_a_best_checkpoint_has_no_card(done, tmp_path):
    run = shutil.copytree(done.run_dir, tmp_path / "run", symlinks=True)
    (run / "README.md").unlink()
    (run / "best").unlink()
    assert not update_card(run)
    assert not (run / "README.md").exists()
    assert json.loads((run / "run.json").read_text())["made_by"] == {}
