import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from visual_thought.pipeline.datasets.lerobot import check_frames, decode_frames, open_source, stream_frames
from visual_thought.pipeline.errors import DatasetError, FrameError

MAIN = Path("videos/observation.images.main/chunk-000/file-000.mp4")
FPS = 15


@pytest.fixture
def source(tiny_manifest):
    return open_source(tiny_manifest)


@pytest.fixture
def with_video(tiny_manifest, tmp_path):
    """The tiny dataset with another file in place of the main camera's video: ``with_video(write)``."""

    def make(write):
        shutil.copytree(tiny_manifest.root, tmp_path / "copy")
        (tmp_path / "copy" / MAIN).unlink()
        write(tmp_path / "copy" / MAIN)
        return open_source(replace(tiny_manifest, root=tmp_path / "copy"))

    return make


def decode_all(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def encode(path: Path, frames, *, codec="libx264", skip=(), size=(48, 64), options=None, rate=FPS) -> None:
    """A video of noisy frames; the numbers in ``skip`` are left out, and their time with them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number in frames:
            if number in skip:
                continue
            rgb = np.full((*size, 3), number * 4, np.uint8)
            rgb[:, (2 * number) : (2 * number) + 4] = 255
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.mark.parametrize("camera", ["main", "top"])
def test_frames_equal_a_plain_decode_of_the_whole_file(source, camera):
    whole = decode_all(source.root / source.clip(0, camera).path)
    assert len(whole) == 30
    for episode in range(3):
        frames = list(decode_frames(source, episode, camera, range(10)))
        assert [frame.frame_index for frame in frames] == list(range(10))
        for frame in frames:
            pts_s, rgb = whole[episode * 10 + frame.frame_index]
            assert frame.pts_s == pts_s
            np.testing.assert_array_equal(frame.rgb, rgb)


def test_a_stride_or_any_order_gives_the_same_frames(source):
    one_pass = {frame.frame_index: frame.pixel_hash for frame in decode_frames(source, 1, "top", range(10))}
    assert len(set(one_pass.values())) == 10
    for order in ([0, 4, 8], [9, 0, 5], [3, 3, 2], list(range(9, -1, -1))):
        again = [(frame.frame_index, frame.pixel_hash) for frame in decode_frames(source, 1, "top", order)]
        assert again == [(index, one_pass[index]) for index in order]


def test_the_number_of_threads_does_not_change_a_pixel(source):
    hashes = [[frame.pixel_hash for frame in decode_frames(source, 0, "main", range(10), threads=n)] for n in (0, 1, 3)]
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_stream_runs_through_several_episodes(source):
    wanted = [(0, 8), (0, 9), (1, 0), (2, 5), (1, 9)]
    frames = list(stream_frames(source, "main", wanted))
    assert [(frame.episode_index, frame.frame_index) for frame in frames] == wanted
    for frame in frames:
        (alone,) = decode_frames(source, frame.episode_index, "main", [frame.frame_index])
        assert alone.pixel_hash == frame.pixel_hash


def test_a_stream_that_is_given_up_closes_its_file(source):
    frames = stream_frames(source, "main", [(0, 0), (0, 1)])
    next(frames)
    frames.close()


def test_b_frames_and_distant_keyframes_do_not_disturb_the_order(with_video):
    options = {"g": "30", "bf": "3", "x264-params": "scenecut=0"}
    source = with_video(lambda path: encode(path, range(30), options=options))
    whole = decode_all(source.root / MAIN)
    wanted = [(2, 9), (0, 0), (1, 3), (0, 7), (0, 8), (2, 0)]
    for (episode, index), frame in zip(wanted, stream_frames(source, "main", wanted), strict=True):
        np.testing.assert_array_equal(frame.rgb, whole[episode * 10 + index][1])
    for episode in range(3):
        check_frames(source, episode, "main")


def test_a_shorter_video_is_an_error_that_names_episode_camera_and_time(with_video):
    source = with_video(lambda path: encode(path, range(25)))
    assert len(list(decode_frames(source, 2, "main", range(5)))) == 5
    for attempt in (lambda: list(decode_frames(source, 2, "main", range(10))), lambda: check_frames(source, 2, "main")):
        with pytest.raises(DatasetError, match="episode 2, camera main, frame 5") as caught:
            attempt()
        assert "shorter than its index" in str(caught.value)
        assert f"{25 / FPS:.4f} s" in str(caught.value)
    check_frames(source, 1, "main")


def test_a_missing_frame_is_an_error_and_never_its_neighbour(with_video):
    source = with_video(lambda path: encode(path, range(30), skip=(13,)))
    with pytest.raises(DatasetError, match="lacks a frame: episode 1, camera main, frame 3"):
        list(decode_frames(source, 1, "main", [3]))
    with pytest.raises(DatasetError, match="episode 1, camera main, frame 3"):
        list(decode_frames(source, 1, "main", range(10)))
    with pytest.raises(DatasetError, match="episode 1, camera main, frame 3"):
        check_frames(source, 1, "main")
    assert len(list(decode_frames(source, 1, "main", [2, 4]))) == 2


def test_a_cut_file_is_an_error(tiny_manifest, with_video):
    whole = (tiny_manifest.root / MAIN).read_bytes()
    source = with_video(lambda path: path.write_bytes(whole[: len(whole) * 2 // 3]))
    with pytest.raises(DatasetError, match="main"):
        list(stream_frames(source, "main", [(episode, frame) for episode in range(3) for frame in range(10)]))


@pytest.mark.parametrize("filler", [b"\x00", b"\xff", b"\x0a"])
def test_overwritten_bytes_are_an_error_at_their_own_frame(tiny_manifest, with_video, filler):
    whole = bytearray((tiny_manifest.root / MAIN).read_bytes())
    with av.open(str(tiny_manifest.root / MAIN)) as container:
        packet = next(packet for packet in container.demux(video=0) if packet.pts * packet.time_base > 14.5 / FPS)
        position, size = packet.pos, packet.size
    whole[position : position + size] = filler * size
    source = with_video(lambda path: path.write_bytes(whole))
    everything = [(episode, frame) for episode in range(3) for frame in range(10)]
    frames = stream_frames(source, "main", everything)
    for episode, frame in everything[:15]:
        found = next(frames)
        assert (found.episode_index, found.frame_index) == (episode, frame)
    with pytest.raises(DatasetError, match="episode 1, camera main, frame 5"):
        next(frames)
    with pytest.raises(DatasetError, match=r"episode [01], camera main"):
        list(stream_frames(source, "main", everything, threads=4))


def test_a_video_of_half_the_rate_is_an_error(with_video):
    source = with_video(lambda path: encode(path, range(0, 30, 2)))
    with pytest.raises(DatasetError, match="lacks a frame: episode 0, camera main, frame 1"):
        check_frames(source, 0, "main")


def test_a_video_of_twice_the_rate_is_an_error_though_every_frame_has_its_time(with_video):
    source = with_video(lambda path: encode(path, range(60), rate=2 * FPS))
    with pytest.raises(DatasetError, match="episode 1, camera main, frame 0") as caught:
        check_frames(source, 1, "main")
    assert "not a video of 15 Hz" in str(caught.value)


def test_a_missing_video_is_an_error_of_the_episode_where_it_was_not_looked_for_before(tiny_manifest, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(tiny_manifest.root, root)
    (root / MAIN).unlink()
    source = open_source(replace(tiny_manifest, root=root), missing_videos=True)
    check_frames(source, 1, "top")
    with pytest.raises(FrameError, match="episode 1, camera main, frame 0"):
        check_frames(source, 1, "main")


def test_zeroed_bytes_at_the_start_of_a_file_are_an_error(tiny_manifest, with_video):
    whole = (tiny_manifest.root / MAIN).read_bytes()
    source = with_video(lambda path: path.write_bytes(bytes(1024) + whole[1024:]))
    with pytest.raises(FrameError, match="cannot be opened"):
        check_frames(source, 0, "main")


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_a_file_that_is_no_video_is_an_error(with_video, content):
    source = with_video(lambda path: path.write_bytes(content))
    with pytest.raises(DatasetError, match="cannot be opened"):
        list(decode_frames(source, 0, "main", [0]))


def test_a_video_of_another_size_is_an_error(with_video):
    source = with_video(lambda path: encode(path, range(30), size=(64, 64)))
    with pytest.raises(DatasetError, match=r"\(64, 64\) pixels, not \(48, 64\)"):
        list(decode_frames(source, 0, "main", [0]))


@pytest.mark.parametrize(
    ("episode", "camera", "frame", "said"),
    [(7, "main", 0, "episode 7"), (0, "wrist", 0, "wrist"), (0, "main", 10, "10")],
)
def test_frames_that_the_index_has_not_are_refused(source, episode, camera, frame, said):
    with pytest.raises(DatasetError, match=said):
        list(decode_frames(source, episode, camera, [frame]))
