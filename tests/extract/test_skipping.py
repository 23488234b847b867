"""Damaged episodes: the default stops before anything of them is stored, ``skip-episode`` leaves them out."""

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from older_layout import write_older_layout

from visual_thought.extract.plan import plan
from visual_thought.extract.run import extract
from visual_thought.extract.work import frame_ids
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import DatasetError, FrameError, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.completeness import refuse_partial
from visual_thought.pipeline.store.skipped import read_skipped, still_skipped
from visual_thought.pipeline.store.verify import verify

SECOND = Path("videos/chunk-000/observation.images.top/episode_000001.mp4")
BOTH = {"cameras": ["main", "top"], "stride": 1}


def zero_middle(path: Path) -> None:
    """Zero some packets of the second half."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos]
    data = bytearray(path.read_bytes())
    for position, size in packets[-4:]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def halve_rate(path: Path) -> None:
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 5)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


HARMS = {"zeroed": zero_middle, "truncated": truncate, "another rate": halve_rate, "missing": Path.unlink}


@pytest.fixture(scope="session")
def older(recorded, tmp_path_factory) -> Path:
    """The recorded dataset with a file an episode and camera, so that damage stays in one episode."""
    return write_older_layout(recorded, tmp_path_factory.mktemp("skipping") / "older")


@pytest.fixture
def damaged(older, tmp_path):
    """``damaged("zeroed")``: a copy whose second episode has a damaged video of the camera top."""

    def make(harm: str) -> Path:
        root = Path(shutil.copytree(older, tmp_path / f"damaged-{harm}"))
        HARMS[harm](root / SECOND)
        return root

    return make


def tree(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def episodes_of(store: FeatureStore, feature: str) -> set[int]:
    return set(store.frames(feature)["episode_index"].to_pylist())


@pytest.mark.parametrize("harm", HARMS)
def test_by_default_nothing_of_a_damaged_episode_is_stored(config, manifest, damaged, harm):
    root = damaged(harm)
    before = tree(root)
    asked = config(manifest=manifest(root, **BOTH))
    with pytest.raises(DatasetError) as caught:
        extract(asked)
    if harm == "missing":  # seen before anything begins
        assert str(root / SECOND) in str(caught.value)
        assert not asked.store.exists()
    else:
        assert "episode 1, camera top, frame" in str(caught.value)
        assert isinstance(caught.value, FrameError)
        for feature in ("z", "r"):
            assert episodes_of(FeatureStore.open(asked.store), feature) <= {0}
    assert tree(root) == before


@pytest.mark.parametrize(
    "harm", ["truncated", *(pytest.param(h, marks=pytest.mark.slow) for h in HARMS if h != "truncated")]
)
def test_a_damaged_episode_is_left_out_and_written_down(config, manifest, damaged, harm, tmp_path, older):
    root = damaged(harm)
    before = tree(root)
    asked = config(manifest=manifest(root, **BOTH), on_error="skip-episode")
    answer = extract(asked)
    store = FeatureStore.open(asked.store)
    (skipped,) = read_skipped(store.layout)
    assert (skipped.repo_id, skipped.episode_index) == ("lab/recorded", 1)
    assert "episode 1, camera top, frame" in skipped.reason
    assert str(root) not in skipped.reason
    assert answer.skipped == (skipped.render(),)
    assert "left out: lab/recorded episode 1" in answer.render()
    assert [feature.rows for feature in answer.features] == [360, 360]
    extract(config(manifest=manifest(older, episodes=[0, 2], **BOTH), store=tmp_path / "whole"))
    whole = FeatureStore.open(tmp_path / "whole")
    for feature in ("z", "r"):
        assert episodes_of(store, feature) == {0, 2}
        assert torch.equal(store.read(feature, [0, 359]), whole.read(feature, [0, 359]))
    assert tree(root) == before
    assert extract(asked).frames == 0


def test_what_was_left_out_after_an_extraction_stopped_there_ends_with_everything_else(config, manifest, damaged):
    root = damaged("zeroed")
    asked = {"manifest": manifest(root, **BOTH)}
    with pytest.raises(FrameError):
        extract(config(**asked))
    store = FeatureStore.open(config().store)
    with pytest.raises(StoreIncomplete):
        refuse_partial(store, "z")
    extract(config(**asked, on_error="skip-episode"))
    store = FeatureStore.open(store.path)
    for feature in ("z", "r"):
        frames = store.frames(feature)
        assert frames.num_rows == 360
        assert len(set(frame_ids(frames))) == 360
        left = still_skipped(store.layout, frames)
        assert set(left) == {("lab/recorded", 1)}
        refuse_partial(store, feature, skipped=left)
        with pytest.raises(StoreIncomplete):
            refuse_partial(store, feature)
    assert verify(store.path).problems == ()
    assert extract(config(**asked, on_error="skip-episode")).frames == 0


def test_a_mended_episode_is_extracted_and_no_longer_skipped(config, manifest, damaged, older):
    root = damaged("truncated")
    asked = {"manifest": manifest(root, **BOTH)}
    with pytest.raises(FrameError):
        extract(config(**asked))
    extract(config(**asked, on_error="skip-episode"))
    shutil.copy(older / SECOND, root / SECOND)
    answer = extract(config(**asked))
    assert answer.skipped == ()
    store = FeatureStore.open(answer.store)
    for feature in ("z", "r"):
        frames = store.frames(feature)
        assert frames.num_rows == 540
        assert len(set(frame_ids(frames))) == 540
        assert still_skipped(store.layout, frames) == {}
        refuse_partial(store, feature, skipped=[("lab/recorded", 1)])


def test_a_whole_dataset_is_extracted_the_same_way(config, manifest, older, tmp_path, contents):
    asked = {"manifest": manifest(older, episodes=[0], stride=30)}
    extract(config(**asked, store=tmp_path / "one"))
    extract(config(**asked, store=tmp_path / "two", on_error="skip-episode"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not (tmp_path / "two/skipped").exists()


def test_a_dataset_of_damaged_episodes_is_an_error_and_leaves_nothing(config, manifest, damaged):
    asked = config(manifest=manifest(damaged("truncated"), episodes=[1], cameras=["top"]), on_error="skip-episode")
    with pytest.raises(DatasetError, match="no episode is left"):
        extract(asked)
    assert not asked.store.exists()


def test_an_episode_too_large_to_keep_is_decoded_twice_and_stops_as_early(config, manifest, damaged, monkeypatch):
    from visual_thought.extract import dataset

    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    asked = config(manifest=manifest(damaged("zeroed"), **BOTH))
    with pytest.raises(FrameError, match="episode 1, camera top"):
        extract(asked)
    assert episodes_of(FeatureStore.open(asked.store), "r") <= {0}
    assert extract(config(manifest=asked.manifest, on_error="skip-episode")).frames > 0


def test_the_plan_of_a_skipping_extraction_opens_a_dataset_without_a_video(config, manifest, damaged):
    asked = config(manifest=manifest(damaged("missing"), **BOTH), on_error="skip-episode")
    assert plan(asked).dataset.frames.num_rows == 540
    assert not asked.store.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_line_says_what_it_left_out(manifest, xvla, damaged, tmp_path, capsys):
    path = manifest(damaged("truncated"), cameras=["top"], stride=9)
    line = [
        "extract",
        str(path),
        "--backbone",
        str(xvla),
        "--device",
        "cpu",
        "--store",
        str(tmp_path / "store"),
        "--json",
    ]
    assert run([*line, "--on-error", "skip"]) == 2
    assert run(line) == 3
    assert "--on-error skip-episode" in capsys.readouterr().err
    assert run([*line, "--on-error", "skip-episode"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["skipped"]
    assert said.startswith("lab/recorded episode 1")
