"""Frames that are no video: one encoded picture a row of a data file, as ``{bytes, path}``.

The pictures of an episode are read front to back, a few rows at a time, so that memory does not grow with the file.
A path in a row is never followed: the bytes have to be there.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError

from .parquet import INTEGER, NUMBER, open_parquet, read_columns
from .picture import DecodedFrame, damaged
from .source import LeRobotSource, Stills

ROWS_AT_ONCE = 16
FORMATS = ("PNG", "JPEG")
MODES = ("RGB", "L", "P", "1")  # without loss as RGB; an alpha channel or 16 bits would be a guess


def stream_stills(
    source: LeRobotSource, camera: str, path: str, wanted: Iterable[tuple[int, int]]
) -> Iterator[DecodedFrame]:
    """Decode (episode index, frame index) pairs whose pictures lie in one data file; rising order costs one pass.

    Raises:
        FrameError: a picture that is missing or damaged (episode, camera and time are named).
    """
    index = _Index(source, path)
    with open_parquet(source.root / path) as file:
        rows: _Rows | None = None
        for episode, frame in wanted:
            stills = source.clip(episode, camera)
            assert isinstance(stills, Stills)
            rows = rows or _Rows(file, stills.column)
            try:
                rgb = _decode(rows.at(index.row(episode, frame)), source.frame_sizes[camera])
            except (OSError, ValueError, KeyError, pa.ArrowException, Image.DecompressionBombError) as error:
                raise damaged(source, camera, episode, frame, error) from None
            yield DecodedFrame(episode, frame, index.time_s(episode, frame), rgb)


def check_stills(source: LeRobotSource, episode: int, camera: str, stills: Stills) -> None:
    """Check, without decoding, that every row of an episode holds a picture of the size that ``info.json`` says.

    Raises:
        FrameError: one does not.
    """
    index, length = _Index(source, str(stills.path)), source.episode(episode).length
    with open_parquet(source.root / stills.path) as file:
        rows = _Rows(file, stills.column)
        for frame in range(length):
            try:
                _opened(rows.at(index.row(episode, frame)), source.frame_sizes[camera]).close()
            except (OSError, ValueError, KeyError, pa.ArrowException, Image.DecompressionBombError) as error:
                raise damaged(source, camera, episode, frame, error) from None


class _Index:
    """Where the rows of a data file's frames are."""

    def __init__(self, source: LeRobotSource, path: str) -> None:
        columns = {"episode_index": INTEGER, "frame_index": INTEGER, "timestamp": NUMBER}
        table = read_columns(source.root / path, columns, max_rows=sum(source.lengths.values()))
        pairs = zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True)
        self._rows = {pair: row for row, pair in enumerate(pairs)}
        self._times = table["timestamp"].to_numpy()

    def row(self, episode: int, frame: int) -> int:
        """The row of a frame; KeyError if there is none."""
        return self._rows[episode, frame]

    def time_s(self, episode: int, frame: int) -> float:
        """The time stamp beside a picture, seconds in its episode."""
        return float(self._times[self._rows[episode, frame]])


class _Rows:
    """A column of pictures, read forwards in small batches; a step back begins anew at the row's group."""

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        self._file, self._column = file, column
        groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self._starts: Int[np.ndarray, " groups"] = np.cumsum([0, *groups])
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._begin = self._end = 0  # rows of the batch at hand

    def at(self, row: int) -> Any:
        """The value of one row."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._batch is None or row < self._begin or int(self._starts[group]) > self._end:
            rest = range(group, self._file.metadata.num_row_groups)
            self._batches = self._file.iter_batches(ROWS_AT_ONCE, row_groups=rest, columns=[self._column])
            self._begin = self._end = int(self._starts[group])
        while row >= self._end:
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise ValueError("the column ends before this row")
            self._begin, self._end = self._end, self._end + self._batch.num_rows
        assert self._batch is not None  # the row is not before it
        return self._batch.column(self._column)[row - self._begin].as_py()


def _opened(value: Any, size: tuple[int, int]) -> Image.Image:
    """The picture in a row, its pixels not decoded yet; ValueError if it is none of this size."""
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), bytes):
        raise ValueError("no picture in the data file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is compared next
        try:
            image = Image.open(io.BytesIO(value["bytes"]), formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"{len(value['bytes'])} bytes that are no picture") from None
    if (image.height, image.width) != size:
        raise ValueError(f"{(image.height, image.width)} pixels, not {size}")
    if image.mode not in MODES:
        raise ValueError(f"a picture of mode {image.mode}, which is not one of {', '.join(MODES)}")
    return image


def _decode(value: Any, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    with _opened(value, size) as image:
        return np.array(image.convert("RGB"))  # a copy: PIL's own memory is read-only
