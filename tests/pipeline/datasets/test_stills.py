"""Pictures stored one by one in a data file."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from visual_thought.pipeline.datasets.lerobot import check_frames, decode_frames, open_source, stream_frames
from visual_thought.pipeline.errors import DatasetError, FrameError

DATA = Path("data/chunk-000/file-000.parquet")
KEY = "observation.images.main"


@pytest.fixture
def pictures(tiny_manifest, tiny_pictures):
    """The manifest of the tiny dataset with pictures."""
    return replace(tiny_manifest, root=tiny_pictures)


@pytest.fixture
def with_picture(pictures, tmp_path):
    """The dataset with another value in place of one frame's picture: ``with_picture(row, value)``."""

    def make(row, value, **options):
        root = Path(shutil.copytree(pictures.root, tmp_path / "copy"))
        table = pq.read_table(root / DATA)
        values = table[KEY].to_pylist()
        values[row] = value
        position = table.column_names.index(KEY)
        column = pa.array(values, table.schema.field(KEY).type)
        pq.write_table(table.set_column(position, KEY, column), root / DATA, **options)
        return open_source(replace(pictures, root=root))

    return make


def encoded(image: Image.Image, kind: str = "PNG") -> dict:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": "/etc/hostname"}


def test_every_picture_is_the_one_that_was_recorded(pictures, drawn):
    source = open_source(pictures)
    assert source.all_cameras == ("main", "top")
    for camera in source.cameras:
        for episode in range(3):
            check_frames(source, episode, camera)
            for frame in decode_frames(source, episode, camera, range(10)):
                np.testing.assert_array_equal(frame.rgb, drawn(episode, frame.frame_index, camera))
                assert frame.pts_s == pytest.approx(frame.frame_index / 15, abs=1e-6)


@pytest.mark.parametrize("row_group_size", [1, 4, 30])
def test_any_order_and_any_row_groups_give_the_same_pictures(with_picture, drawn, row_group_size):
    source = with_picture(0, encoded(Image.fromarray(drawn(0, 0, "main"))), row_group_size=row_group_size)
    wanted = [(2, 9), (0, 0), (1, 3), (1, 3), (0, 7), (2, 0)]
    for (episode, index), frame in zip(wanted, stream_frames(source, "main", wanted), strict=True):
        np.testing.assert_array_equal(frame.rgb, drawn(episode, index, "main"))


def test_a_grey_picture_is_read_as_colour(with_picture):
    grey = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    source = with_picture(12, encoded(Image.fromarray(grey)))
    (frame,) = decode_frames(source, 1, "main", [2])
    np.testing.assert_array_equal(frame.rgb, np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no picture"),
        ({"bytes": None, "path": "/etc/hostname"}, "no picture"),
        ({"bytes": b"", "path": None}, "no picture"),
        ({"bytes": b"\x00" * 500, "path": None}, "no picture"),
        (encoded(Image.new("RGB", (64, 64))), r"\(64, 64\) pixels, not \(48, 64\)"),
        (encoded(Image.new("RGBA", (64, 48))), "mode RGBA"),
        (encoded(Image.new("I;16", (64, 48))), "mode I;16"),
        (encoded(Image.new("1", (30_000, 30_000))), "exceeds limit"),
    ],
)
def test_what_is_no_picture_of_the_camera_is_an_error_before_anything_is_decoded(with_picture, value, said):
    source = with_picture(14, value)
    with pytest.raises(FrameError, match="episode 1, camera main, frame 4") as caught:
        check_frames(source, 1, "main")
    assert re.search(said, str(caught.value))
    check_frames(source, 0, "main")
    check_frames(source, 1, "top")
    with pytest.raises(FrameError, match="frame 4"):
        list(decode_frames(source, 1, "main", range(10)))


def test_a_cut_or_flipped_picture_is_an_error_at_its_own_frame(with_picture, drawn):
    whole = encoded(Image.fromarray(drawn(1, 4, "main")))["bytes"]
    for damage in (
        whole[:-40],
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 8]) + whole[len(whole) // 2 + 1 :],
    ):
        source = with_picture(14, {"bytes": damage, "path": None})
        assert len(list(decode_frames(source, 1, "main", range(4)))) == 4
        with pytest.raises(FrameError, match="episode 1, camera main, frame 4"):
            list(decode_frames(source, 1, "main", [4]))
        shutil.rmtree(source.root)


def test_a_data_file_without_its_end_is_named(pictures, tmp_path):
    root = Path(shutil.copytree(pictures.root, tmp_path / "copy"))
    whole = (root / DATA).read_bytes()
    (root / DATA).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"file-000.parquet cannot be read"):
        open_source(replace(pictures, root=root))
