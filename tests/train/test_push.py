"""Runs in model repositories, against the small Hub of the stores' tests."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from grounding_toys import SHORT_RECIPE, config_for
from huggingface_hub import HfApi, ModelCard, constants, snapshot_download

from visual_thought import FeatureStore, load_run
from visual_thought.pipeline.cli import run as vtt
from visual_thought.pipeline.errors import ConfigError, MachineError
from visual_thought.train.privacy import without_folders
from visual_thought.train.run import train
from visual_thought.train.share import push

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from store.remotes import Hub, Waits, hub_server

REPO = "lab/grounding"
SECRET = "hf_EXAMPLEnotforanybody"
FILES = {
    "README.md",
    "config.json",
    "files.json",
    "metrics.jsonl",
    "model.safetensors",
    "run.json",
    "steps.json",
    "controls/instruction_blind.safetensors",
    "controls/linear_probe.safetensors",
}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # whoever runs the tests may be
    found = Hub()
    with hub_server(found) as endpoint:
        found.endpoint = endpoint
        found.api = HfApi(endpoint=endpoint, token=SECRET)
        yield found


@pytest.fixture(scope="module")
def run_dir(toys_once, tmp_path_factory):
    return train(config_for(toys_once, str(tmp_path_factory.mktemp("runs") / "mine"))).run_dir


def send(hub, run_dir, **options):
    return push(run_dir, REPO, api=hub.api, patience=Waits(attempts=3).patience, **options)


def weights(run):
    return {name: one.model.state_dict() for name, one in run.contenders.items()}


def same(one, other):
    return all(torch.equal(one[name][key], other[name][key]) for name in one.keys() | other.keys() for key in one[name])


def test_what_was_pushed_reloads_itself_and_knows_its_features(hub, toys_once, run_dir, tmp_path):
    done = send(hub, run_dir, private=True)
    assert hub.private[REPO]
    assert set(done.files) == FILES
    assert set(hub.head(REPO)) == FILES | {".gitattributes"}
    assert len(hub.commits[REPO]) == 2  # made, then everything in one commit
    folder = snapshot_download(REPO, endpoint=hub.endpoint, token=SECRET, cache_dir=tmp_path / "cache")
    there, here = load_run(folder), load_run(run_dir)
    assert same(weights(there), weights(here))
    assert {name: one.step for name, one in there.contenders.items()} == {
        name: one.step for name, one in here.contenders.items()
    }
    store = FeatureStore.open(toys_once / "store")
    assert there.features_in(store) == here.features_in(store)


def test_nothing_that_is_pushed_names_a_folder_of_this_machine(hub, toys_once, run_dir):
    send(hub, run_dir)
    for name, data in hub.head(REPO).items():
        for folder in (toys_once, run_dir.parent, Path(sys.prefix), Path.home()):
            assert str(folder).encode() not in data, name
    assert json.loads(hub.head(REPO)["run.json"])["config"]["store"] == "store"


def test_the_hub_understands_the_card_and_it_says_how_to_load_the_run(hub, run_dir):
    send(hub, run_dir)
    card = ModelCard(hub.head(REPO)["README.md"].decode())
    assert f'load_run(snapshot_download("{REPO}"))' in card.text
    (dataset,) = {(one.dataset_type, one.dataset_split) for one in card.data.eval_results}
    assert dataset == ("toys/cubes", "val")


def test_a_second_push_replaces_the_first_and_leaves_no_control_of_it(hub, toys_once, run_dir, tmp_path):
    send(hub, run_dir)
    alone = train(config_for(toys_once, str(tmp_path / "alone"), controls=[], steps=2)).run_dir
    send(hub, alone)
    assert set(hub.head(REPO)) == {name for name in FILES if "/" not in name} | {".gitattributes"}


def test_a_card_that_somebody_wrote_there_stays(hub, run_dir):
    send(hub, run_dir)
    hub.add(REPO, {"README.md": b"# our own words"})
    done = send(hub, run_dir)
    assert done.card_kept
    assert hub.head(REPO)["README.md"] == b"# our own words"


def test_a_card_that_somebody_wrote_here_is_the_one_that_is_pushed(hub, run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run", symlinks=True)
    (run / "README.md").write_text("# our own words")
    send(hub, run)
    assert hub.head(REPO)["README.md"] == b"# our own words"


def test_a_single_checkpoint_may_be_pushed(hub, run_dir, tmp_path):
    send(hub, run_dir, checkpoint="10")
    assert json.loads(hub.head(REPO)["steps.json"])["head"] == 10
    copied = shutil.copytree(run_dir / "checkpoints" / "000005", tmp_path / "copied")
    send(hub, copied)
    assert json.loads(hub.head(REPO)["steps.json"])["head"] == 5


def test_a_dry_run_lists_files_and_sizes_and_asks_nobody(hub, run_dir, capsys):
    assert vtt(["push", str(run_dir), REPO, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["files"]) == FILES
    assert said["bytes"] == sum(said["files"].values())
    assert said["files"]["model.safetensors"] == (run_dir / "best" / "model.safetensors").stat().st_size
    assert vtt(["push", str(run_dir), REPO, "--dry-run"]) == 0
    assert "would go to the model repository lab/grounding" in capsys.readouterr().out


def test_a_training_may_end_with_a_dry_run(toys_once, tmp_path, capsys):
    assert vtt([*command(toys_once, tmp_path), "--push-to-hub", REPO, "--private", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["push"]["dry_run"]
    assert set(said["push"]["files"]) == {name for name in FILES if "/" not in name}


def test_a_push_that_fails_leaves_the_run_whole_and_says_how_to_repeat_it(toys_once, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert vtt([*command(toys_once, tmp_path), "--push-to-hub", REPO, "--private", "--json"]) == 5
    said = capsys.readouterr()
    assert f"vtt push {tmp_path / 'run'} {REPO} --private" in said.err
    assert json.loads(said.out)["checkpoint"] == str((tmp_path / "run" / "best").resolve())
    assert load_run(tmp_path / "run").head.step == 2


def test_a_hub_that_does_not_answer_is_named_without_the_token(hub, run_dir):
    api = HfApi(endpoint="http://127.0.0.1:1", token=SECRET)
    with pytest.raises(MachineError, match="the upload to lab/grounding failed") as caught:
        push(run_dir, REPO, api=api, patience=Waits(attempts=2).patience)
    assert f"vtt push {run_dir} {REPO}" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["grounding", "a/b/c", "lab/", "../x", "lab/x.git", "lab/a--b", "-lab/x", "lab/x y"])
def test_a_repository_that_cannot_be_is_refused_before_the_training(toys_once, tmp_path, name, capsys):
    assert vtt([*command(toys_once, tmp_path), "--push-to-hub", name]) == 2
    assert not (tmp_path / "run").exists()
    assert "OWNER/NAME" in capsys.readouterr().err


def test_options_of_a_push_without_a_push_are_refused(toys_once, tmp_path):
    assert vtt([*command(toys_once, tmp_path), "--dry-run"]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["README.md", "metrics.jsonl"])
def test_a_link_in_a_run_folder_uploads_nothing_that_it_leads_to(hub, run_dir, tmp_path, name):
    run = shutil.copytree(run_dir, tmp_path / "run", symlinks=True)
    (tmp_path / "key").write_text("private")
    (run / name).unlink()
    (run / name).symlink_to(tmp_path / "key")
    with pytest.raises(ConfigError, match="is a link"):
        send(hub, run)
    assert REPO not in hub.commits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/my stores/cubes", "cubes"),
        ("--store=/data/my stores/cubes", "--store=cubes"),
        ("~/cubes", "cubes"),
        ("file:///data/cubes", "cubes"),
        (
            "vtt extract /a/b.yaml --backbone dinov2=/e/f?long_side=4",
            "vtt extract b.yaml --backbone dinov2=f?long_side=4",
        ),
        ("hf://datasets/lab/cubes@main/v1", "hf://datasets/lab/cubes@main/v1"),
        ("s3://bucket/cubes", "s3://bucket/cubes"),
        ("lerobot/xvla-base", "lerobot/xvla-base"),
        ("3 / 4 or a/b", "3 / 4 or a/b"),
        ("damaged: [Errno 2] No such file: '/runs/a/files.json'", "damaged: [Errno 2] No such file: 'files.json'"),
    ],
)
def test_of_a_path_only_the_last_name_is_told(text, expected):
    assert without_folders({"a": [text]}) == {"a": [expected]}


def command(toys: Path, folder: Path) -> list[str]:
    recipe = folder / "recipe.yaml"
    config = SHORT_RECIPE | {"features": {"z": "z"}, "head": {"dim": 16, "refine": False}}
    recipe.write_text(json.dumps(config))
    places = ["--store", str(toys / "store"), "--manifest", str(toys / "toys.yaml"), "--out", str(folder / "run")]
    return ["train", str(recipe), *places]
