"""The whole stage: LeRobot dataset in, feature store out."""

import hashlib
import json
import shutil

import av
import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones.xvla import describe, load
from visual_thought.extract.dataset import open_dataset
from visual_thought.extract.devices import find_device
from visual_thought.extract.plan import plan
from visual_thought.extract.preprocess import preprocess
from visual_thought.extract.run import extract
from visual_thought.extract.work import frame_ids, instructions
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, write_labels
from visual_thought.pipeline.errors import (
    ConfigError,
    DatasetError,
    MachineError,
    StoreMismatch,
    VisualThoughtError,
    WeightsError,
)
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.receipt import read_receipt


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_store_holds_what_lerobots_class_computes_from_the_same_frames(config, manifest, xvla, dtype):
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy
    from transformers import AutoTokenizer

    asked = config(
        dtype=dtype, manifest=manifest(episodes=[0, 1], stride=30, cameras=["main", "top"]), image_size=(64, 64)
    )
    answer = extract(asked)
    assert [feature.rows for feature in answer.features] == [12, 12]
    store, dataset = FeatureStore.open(asked.store), open_dataset(asked.manifest)
    frames = frame_ids(dataset.frames)
    pixels = preprocess(
        [frame.rgb for frame in dataset.decode(frames)], describe(str(xvla), image_size=(64, 64))[0].image
    )
    model, tokenizer = XVLAPolicy.from_pretrained(xvla).model, AutoTokenizer.from_pretrained(xvla)
    words = instructions(store.index("z"))
    ids = tokenizer(words, max_length=16, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    assert frame_ids(store.index("z")) == frame_ids(store.index("r")) == frames
    with torch.no_grad():
        z = model.forward_vlm(ids, pixels[:, None], torch.ones(12, 1))["vlm_features"]
        r = model.vlm.get_image_features(pixels, output_hidden_states=True).hidden_states[-2].permute(0, 2, 3, 1)
    for name, expected in (("z", z), ("r", r)):
        found = store.read(name, list(range(12)))
        if dtype == "fp32":
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        else:  # 8 bits of mantissa in every step
            assert found.dtype == torch.bfloat16
            assert torch.linalg.norm(found.float() - expected) < 0.02 * torch.linalg.norm(expected)


def test_bf16_rows_are_the_autocast_outputs_rounded(config, manifest, xvla):
    asked = config(dtype="bf16", manifest=manifest(episodes=[0], stride=30))
    extract(asked)
    dataset, specs = open_dataset(asked.manifest), describe(str(xvla), image_size=(28, 28))
    pixels = preprocess([frame.rgb for frame in dataset.decode(frame_ids(dataset.frames))], specs[0].image)
    r = load(str(xvla), specs, device=torch.device("cpu")).encode_images(pixels)[1]
    assert torch.equal(FeatureStore.open(asked.store).read("r", [0, 1, 2]), r.to(torch.bfloat16))


def test_a_second_run_extracts_nothing_and_loads_no_weights(config, contents):
    asked = config()
    first = extract(asked)
    assert [(feature.parts_written, feature.parts_reused) for feature in first.features] == [(2, 0), (2, 0)]
    before = contents(asked.store)
    again = extract(asked)
    assert [(feature.parts_written, feature.parts_reused) for feature in again.features] == [(0, 2), (0, 2)]
    assert (again.frames, "load" in again.seconds) == (0, False)
    assert "nothing to extract" in again.render()
    assert contents(asked.store) == before


def test_receipts_carry_seconds_host_versions_and_the_proof_of_every_frame(config, manifest):
    asked = config(manifest=manifest(episodes=[0], cameras=["main"]))
    extract(asked)
    (path,) = asked.store.glob("receipts/*/r-*/000000.json")
    info = json.loads(path.read_text())["info"]
    assert info["seconds"]["forward"] > 0 < info["seconds"]["decode"]
    assert info["host"]
    assert {"torch", "lerobot", "transformers"} <= set(info["versions"])
    assert info["cameras"] == {"main": {"key": "observation.images.main", "view": {"z": 0, "r": 0}}}
    frames = FeatureStore.open(asked.store).frames("r")
    decoded = list(open_dataset(asked.manifest).decode(frame_ids(frames)))
    assert frames["pts_s"].to_pylist() == [frame.pts_s for frame in decoded]
    assert frames["pixels_sha256"].to_pylist() == [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in decoded]


def test_the_same_command_gives_the_same_bytes(config, tmp_path, contents):
    for name in ("one", "two"):
        extract(config(store=tmp_path / name, dtype="bf16"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_r_alone_is_the_r_of_both(config, tmp_path, contents):
    extract(config(store=tmp_path / "both"))
    extract(config(store=tmp_path / "alone", features=("r",)))
    assert contents(tmp_path / "alone", "r") == contents(tmp_path / "both", "r")


def test_a_feature_added_later_is_the_same_as_one_extracted_with_the_rest(config, tmp_path, contents):
    extract(config(store=tmp_path / "both"))
    extract(config(store=tmp_path / "later", features=("r",)))
    answer = extract(config(store=tmp_path / "later"))
    assert [(feature.name, feature.parts_written) for feature in answer.features] == [("z", 2), ("r", 0)]
    assert contents(tmp_path / "later") == contents(tmp_path / "both")


def test_an_added_episode_extracts_only_what_is_missing(config, manifest):
    extract(config(manifest=manifest(episodes=[0, 1])))
    asked = config(manifest=manifest(episodes=[0, 1, 2]))
    answer = extract(asked)
    assert [(feature.rows, feature.parts_written) for feature in answer.features] == [(135, 1), (135, 1)]
    assert answer.frames <= 45 + asked.batch_size  # the batch that reaches into the earlier episode is whole
    store = FeatureStore.open(asked.store)
    assert sorted(array.rows for array in store.arrays()) == [45, 45, 90, 90]
    assert store.status("z").missing == store.status("r").missing == {}


def test_a_narrower_manifest_finishes_a_part_of_a_larger_plan(config, manifest):
    extract(config())
    store = FeatureStore.open(config().store)
    before = {name: store.read(name, [0, 130]) for name in ("z", "r")}  # of episodes 0 and 2
    for path in [*store.path.glob("receipts/*/*/000000.json"), *store.path.glob("arrays/*/*/c.0.*")]:
        path.unlink()
    answer = extract(config(manifest=manifest(episodes=[2])))
    assert [feature.parts_written for feature in answer.features] == [1, 1]
    assert store.status("z").missing == store.status("r").missing == {}
    for name, rows in before.items():
        torch.testing.assert_close(store.read(name, [0, 130]), rows, rtol=0, atol=1e-5)


def test_frames_that_did_not_change_keep_their_features_under_a_new_revision(
    config, manifest, recorded, tmp_path, edit_json
):
    both = {"cameras": ["main", "top"], "stride": 3}
    extract(config(manifest=manifest(**both)))
    moved = shutil.copytree(recorded, tmp_path / "moved")
    edit_json(moved / "meta/info.json", lambda info: info.update(note="a new revision"))
    reencode(moved / "videos/observation.images.top/chunk-000/file-000.mp4", keep=270)
    planned = plan(config(manifest=manifest(moved, **both)))
    assert [feature.moved.num_rows for feature in planned.features] == [180, 180]
    answer = extract(config(manifest=manifest(moved, **both)))
    assert [feature.parts_written for feature in answer.features] == [1, 1]  # the other camera's 90 frames
    store = FeatureStore.open(answer.store)
    new = [array for array in store.arrays() if array.rows == 90]
    assert [set(store.index_table(array.index_id)["camera"].to_pylist()) for array in new] == [{"top"}, {"top"}]
    assert extract(config(manifest=manifest(moved, **both))).frames == 0


def test_two_instructions_about_a_frame_share_its_r_and_new_ones_leave_r_alone(config, manifest, tmp_path):
    def asked(name, instructions):
        rows = [label(frame, text) for frame in range(0, 90, 30) for text in instructions]
        write_labels(tmp_path / f"{name}.parquet", pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
        labels = str(tmp_path / f"{name}.parquet")
        return config(manifest=manifest(labels=labels, episodes=[0], cameras=["main"], stride=30), image_size=(64, 64))

    first = extract(asked("two", ["the cube", "the box"]))
    assert [feature.rows for feature in first.features] == [6, 3]
    store = FeatureStore.open(first.store)
    assert store.index("z")["instruction"].to_pylist() == ["the box", "the cube"] * 3
    z = store.read("z", list(range(6)))
    assert not torch.equal(z[0], z[1])
    answer = extract(asked("three", ["the cube", "the box", "the lamp"]))
    assert [(feature.rows, feature.parts_written) for feature in answer.features] == [(9, 1), (3, 0)]
    assert sorted(array.rows for array in store.arrays()) == [3, 3, 6]


def test_labels_of_few_frames_run_few_frames_when_only_z_is_asked_for(config, manifest, tmp_path):
    labels = tmp_path / "labels.parquet"
    write_labels(labels, pa.Table.from_pylist([label(40, "the cube")], schema=LABEL_SCHEMA))
    answer = extract(config(manifest=manifest(labels=str(labels)), features=("z",)))
    assert (answer.frames, answer.features[0].rows) == (1, 1)


def test_nan_weights_stop_before_the_part_commits_and_name_the_frame(config, xvla_with):
    folder = spoil(xvla_with(), "model.vlm.vision_tower.blocks.0.0.spatial_block.ffn.fc1.bias", slice(0, 1))
    asked = config(checkpoint=str(folder))
    with pytest.raises(VisualThoughtError, match="feature r is not finite") as caught:
        extract(asked)
    assert "episode 0, camera main, frame 0" in caught.value.found
    assert not list(asked.store.glob("receipts/*/*/*.json"))


def test_nan_can_be_recorded_and_receipts_count_it(config, xvla_with):
    folder = spoil(xvla_with(), "model.vlm.vision_tower.blocks.0.0.spatial_block.ffn.fc1.bias", slice(0, 1))
    asked = config(checkpoint=str(folder), features=("r",), nan="record")
    extract(asked)
    (array,) = FeatureStore.open(asked.store).arrays()
    receipts = [read_receipt(asked.store, array.receipt_path(part)) for part in range(array.num_parts)]
    assert all(receipt.nan_count + receipt.inf_count > 0 for receipt in receipts)
    assert all("--nan record" in receipt.info["command"] for receipt in receipts)


def test_infinite_features_are_refused_and_counted_as_nan_is(config, xvla_with):
    """An infinite bias at the end of the tower's third stage leaves infinities in R, and no NaN."""
    folder = spoil(xvla_with(), "model.vlm.vision_tower.blocks.2.1.channel_block.ffn.fc2.bias", slice(0, 1), torch.inf)
    asked = config(checkpoint=str(folder), features=("r",))
    with pytest.raises(VisualThoughtError, match="feature r is not finite"):
        extract(asked)
    assert not list(asked.store.glob("receipts/*/*/*.json"))
    extract(config(checkpoint=str(folder), features=("r",), nan="record"))
    (array,) = FeatureStore.open(asked.store).arrays()
    receipts = [read_receipt(asked.store, array.receipt_path(part)) for part in range(array.num_parts)]
    assert all((receipt.nan_count, receipt.inf_count > 0) == (0, True) for receipt in receipts)


def test_nan_for_one_instruction_keeps_the_parts_before_it(config, manifest, xvla_with, xvla):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(xvla)
    texts = ("pick up the orange cube", "put it into the white box")
    first, second = (set(tokenizer(text)["input_ids"]) for text in texts)
    folder, word = xvla_with(), min(second - first)
    for name in ("shared", "encoder.embed_tokens"):  # tied: the file holds one of them
        spoil(folder, f"model.vlm.language_model.{name}.weight", word)
    asked = config(checkpoint=str(folder), manifest=manifest(cameras=["main", "top"], stride=1))
    with pytest.raises(VisualThoughtError, match="feature z is not finite") as caught:
        extract(asked)
    assert "episode 1, camera main, frame 0" in caught.value.found
    assert "'put it into the white box'" in caught.value.found
    assert sorted(path.name for path in asked.store.glob("receipts/*/z-*/*.json")) == ["000000.json"]


def test_a_short_video_stops_before_any_part_of_its_episode_commits(config, manifest, recorded, tmp_path):
    short = shutil.copytree(recorded, tmp_path / "short")
    reencode(short / "videos/observation.images.top/chunk-000/file-000.mp4", keep=260)
    asked = config(manifest=manifest(short, stride=2, cameras=["main", "top"]))
    with pytest.raises(DatasetError, match="shorter than its index: episode 2, camera top"):
        extract(asked)
    store = FeatureStore.open(asked.store)
    for name in ("z", "r"):
        assert set(store.frames(name)["episode_index"].to_pylist()) == {0, 1}


def test_an_unknown_camera_is_refused_before_any_weights_are_looked_at(config, manifest, tmp_path):
    with pytest.raises(DatasetError, match="wrist"):
        extract(config(manifest=manifest(cameras=["wrist"]), checkpoint=str(tmp_path / "none")))
    assert not (tmp_path / "store").exists()


def test_a_checkpoint_without_tokenizer_is_refused_and_nothing_is_written(config, xvla_with, tmp_path):
    folder = xvla_with(tokenizer_step={"tokenizer_name": "/gone"}, without=("tokenizer.json", "tokenizer_config.json"))
    with pytest.raises(WeightsError, match="no tokenizer"):
        extract(config(checkpoint=str(folder)))
    assert not (tmp_path / "store").exists()


def test_features_that_do_not_fit_the_disk_are_not_started(config, tmp_path):
    with pytest.raises(MachineError, match="do not fit") as caught:
        extract(config(keep_free_bytes=10**18))
    assert caught.value.exit_code == 5
    assert not (tmp_path / "store").exists()


def test_a_fingerprint_that_was_not_expected_is_refused_field_by_field(config):
    first = extract(config(features=("r",)))
    expected = {"r": first.features[0].fingerprint}
    assert extract(config(features=("r",), expect_fingerprint=expected)).frames == 0
    with pytest.raises(StoreMismatch, match="r would not be computed") as caught:
        extract(config(features=("r",), expect_fingerprint=expected, dtype="bf16"))
    assert caught.value.exit_code == 4
    assert caught.value.found == ["dtype: bf16 != fp32"]


def test_an_array_whose_metadata_disagrees_is_refused(config, edit_json):
    asked = config(features=("r",))
    extract(asked)
    (path,) = asked.store.glob("arrays/*/r-*/zarr.json")
    text = path.read_text()
    assert '"davit"' in text
    path.chmod(0o640)
    path.write_text(text.replace('"davit"', '"dovit"'))
    with pytest.raises(VisualThoughtError) as caught:
        extract(asked)
    assert caught.value.exit_code in (3, 4)


@pytest.mark.parametrize("name", ["cuda:7", "mps"])
def test_a_device_this_machine_has_not_is_refused(name):
    with pytest.raises(MachineError, match=name):
        find_device(name)


def test_a_device_nobody_has_is_refused():
    with pytest.raises(ConfigError, match="gpu"):
        find_device("gpu")


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"features": ()}, {"features": ("r", "r")}, {"expect_fingerprint": {"e": "0"}}]
)
def test_a_config_that_cannot_be_meant_is_refused(config, wrong):
    with pytest.raises(ConfigError):
        config(**wrong)


def label(frame, instruction):
    """A label row without a target."""
    nothing = dict.fromkeys(("point_x", "point_y", "mask", "mask_height", "mask_width"))
    where = {"episode_index": 0, "frame_index": frame, "camera": "main", "instruction": instruction}
    return where | {"target": "", "positive": False, "phase": ""} | nothing


def spoil(folder, name, rows, value=torch.nan):
    """Put NaN, or infinity, into one of a checkpoint's weights."""
    weights = load_file(folder / "model.safetensors")
    if name in weights:
        weights[name][rows] = value
        save_file(weights, folder / "model.safetensors")
    return folder


def reencode(path, keep):
    """Write a video again, slightly darker, with its first ``keep`` frames only."""
    with av.open(str(path)) as container:
        rate, base = container.streams.video[0].average_rate, container.streams.video[0].time_base
        images = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)][:keep]
    path.unlink()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt, stream.time_base = *images[0][1].shape[:2], "yuv420p", base
        for pts, image in images:
            frame = av.VideoFrame.from_ndarray((image * 0.9).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = pts, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_line_chooses_the_format_of_new_arrays(manifest, xvla, tmp_path, capsys):
    path = manifest(episodes=[0], stride=30)
    line = ["extract", str(path), "--backbone", str(xvla), "--device", "cpu", "--store"]
    assert run([*line, str(tmp_path / "store"), "--store-format", "hdf5", "--plan", "--json"]) == 0
    assert [feature["formats"] for feature in json.loads(capsys.readouterr().out)["features"]] == [["hdf5"]] * 2
    assert run([*line, str(tmp_path / "store"), "--store-format", "hdf5", "--json"]) == 0
    capsys.readouterr()
    arrays = FeatureStore.open(tmp_path / "store").arrays()
    assert {array.format_name for array in arrays} == {"hdf5"}
    assert run([*line, str(tmp_path / "store"), "--json"]) == 0  # what is there stays in its own format
    assert {feature["parts_written"] for feature in json.loads(capsys.readouterr().out)["features"]} == {0}
    assert run([*line, str(tmp_path / "zarr"), "--json"]) == 0
    for name in ("z", "r"):
        stores = [FeatureStore.open(tmp_path / folder) for folder in ("store", "zarr")]
        assert torch.equal(*(store.read(name, [0, 1, 2]) for store in stores))
    assert run([*line, str(tmp_path / "other"), "--store-format", "sqlite"]) == 2
    assert run([*line, str(tmp_path / "other"), "--dtype", "int8"]) == 2
    assert not (tmp_path / "other").exists()


def test_an_extraction_into_a_remote_store_holds_what_one_into_a_folder_holds(config, manifest, tmp_path):
    url = StoreUrl(f"file://{tmp_path}/remote", tmp_path / "cache")
    small = manifest(episodes=[0], stride=30)
    assert not plan(config(store=url, manifest=small)).complete
    done = extract(config(store=url, manifest=small))
    assert done.to_json()["store"] == str(url)
    extract(config(store=tmp_path / "here", manifest=small))
    here, there = FeatureStore.open(tmp_path / "here"), FeatureStore.open(url)
    for name in ("z", "r"):
        assert torch.equal(here.read(name, [0, 1]), there.read(name, [0, 1]))
    assert plan(config(store=url, manifest=small)).complete
    assert extract(config(store=url, manifest=small)).frames == 0
