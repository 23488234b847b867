"""Whether one part is what its receipt says: from its size and row index, or from every byte of it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import StoreError, StoreIncomplete
from ..words import counted
from .array import ArrayRef
from .codecs import decompress
from .crc import crc32c
from .files import open_file, read_file
from .format import DamageError, count_not_finite
from .frames import FRAMES_SCHEMA
from .index import from_parquet
from .layout import part_name
from .problem import Problem
from .receipt import Receipt, checksum_digits
from .survey import Slot, reason

_ROOM = 1 << 20  # of a part's file besides its rows


def check_part(slot: Slot, part: int, receipt: Receipt) -> Problem | None:
    """What is wrong with a part as far as its receipt, its file's size, its row index and its frames can tell."""
    return _wrong_receipt(slot, part, receipt) or _wrong_file(slot, part, receipt) or _wrong_frames(slot, part, receipt)


def prove_part(slot: Slot, part: int, receipt: Receipt) -> Problem | None:
    """What is wrong with the bytes of a part that :func:`check_part` found in order.

    Every byte is hashed; then the part is decoded, and the checksums of its rows and its numbers that are not finite
    are compared with the receipt. Rows that are damaged are named.
    """
    path = slot.part_file(part)
    if path is None:
        return _missing(slot, part, receipt)
    try:
        data = _read_part(slot, path)
    except OSError as error:
        return _problem(slot, part, receipt, path, f"its file cannot be read: {error.strerror}")
    found = hashlib.sha256(data).hexdigest()
    if slot.array is None:
        return None if found == receipt.sha256 else _problem(slot, part, receipt, path, _OTHER_BYTES)
    if found != receipt.sha256:
        bad = _bad_rows(slot.array, receipt, data)
        what = f"{_OTHER_BYTES}; {_said_bad(len(bad), receipt.rows)}"
        rows = (receipt.row_start + bad[0], receipt.row_start + bad[-1] + 1) if bad else None
        return _problem(slot, part, receipt, path, what, rows=rows)
    return _wrong_numbers(slot, slot.array, part, receipt, data)


def check_orphan(slot: Slot, part: int, path: Path, *, full: bool) -> Problem | None:
    """What is wrong with a part's file that has no receipt (yet): damaged, it would stop the next extraction."""
    array = slot.array
    if array is None or part >= array.num_parts:
        return None
    rows = array.meta.part_range(part)
    try:
        fd = open_file(slot.layout.root, path)
        try:
            size = os.fstat(fd).st_size
            _refuse_size(array, len(rows), size)
            array.format.row_spans(array.meta, len(rows), size, _preader(fd))
        finally:
            os.close(fd)
        if full:
            array.format.decode(array.meta, len(rows), _read_part(slot, path))
    except (DamageError, StoreError, OSError) as error:
        what = f"a part without a receipt, which cannot be read ({error})".replace(f"{path} ", "")
        return Problem("stray", path, what, slot.index_id, slot.key, part, (rows.start, rows.stop))
    return None


def check_orphan_frames(slot: Slot, part: int, path: Path) -> Problem | None:
    """The same of a table of frames without a receipt."""
    try:
        from_parquet(path, read_file(slot.layout.root, path), FRAMES_SCHEMA)
    except StoreError as error:
        what = f"a table of frames without a receipt, which cannot be read ({reason(error, path)})"
        return Problem("stray", path, what, slot.index_id, slot.key, part)
    return None


_OTHER_BYTES = "its bytes are not those of its receipt"


def _wrong_receipt(slot: Slot, part: int, receipt: Receipt) -> Problem | None:
    array, path = slot.array, slot.layout.receipt_file(slot.index_id, slot.key, part)
    if array is not None and part >= array.num_parts:
        what = f"a receipt for a part that the array cannot have: it has {array.num_parts}"
        return Problem("receipt", path, what, slot.index_id, slot.key, part)
    said: tuple[object, ...] = (receipt.index_id, receipt.feature)
    if said == (slot.index_id, slot.key) and array is not None:
        rows = array.meta.part_range(part)
        said, expected = (receipt.row_start, receipt.row_stop), (rows.start, rows.stop)
        if said == expected:
            return None
        what = f"its receipt is of rows {said}, expected {expected}"
        return Problem("receipt", path, what, slot.index_id, slot.key, part, expected)
    if said == (slot.index_id, slot.key):
        return None
    what = f"its receipt is of another array: {receipt.feature} (index {receipt.index_id})"
    return Problem("receipt", path, what, slot.index_id, slot.key, part)


def _wrong_file(slot: Slot, part: int, receipt: Receipt) -> Problem | None:
    path = slot.part_file(part)
    if path is None:
        return _missing(slot, part, receipt)
    try:
        fd = open_file(slot.layout.root, path)
    except StoreIncomplete:
        return _missing(slot, part, receipt)
    except StoreError as error:
        return _problem(slot, part, receipt, path, reason(error, path, "its file"))
    try:
        size = os.fstat(fd).st_size
        if size != receipt.bytes:
            what = f"its file has {size} bytes, its receipt says {receipt.bytes}"
            return _problem(slot, part, receipt, path, what)
        return None if slot.array is None else _wrong_index(slot, slot.array, part, receipt, fd)
    finally:
        os.close(fd)


def _wrong_index(slot: Slot, array: ArrayRef, part: int, receipt: Receipt, fd: int) -> Problem | None:
    path = array.part_path(part)
    try:
        _refuse_size(array, receipt.rows, receipt.bytes)
        spans = array.format.row_spans(array.meta, receipt.rows, receipt.bytes, _preader(fd))
    except (DamageError, OSError) as error:
        return _problem(slot, part, receipt, path, str(error))
    absent = np.flatnonzero(spans[:, 0] < 0)
    if not len(absent):
        return None
    rows = (receipt.row_start + int(absent[0]), receipt.row_start + int(absent[-1]) + 1)
    return _problem(slot, part, receipt, path, f"its file lacks {counted(len(absent), 'row')}", rows=rows)


def _wrong_frames(slot: Slot, part: int, receipt: Receipt) -> Problem | None:
    path = slot.layout.frames_file(slot.index_id, slot.key, part)
    if receipt.frames_sha256 is None:
        return None
    try:
        data = read_file(slot.layout.root, path)
        if hashlib.sha256(data).hexdigest() == receipt.frames_sha256:
            return None
        what = "the table of its frames is not the one its receipt names"
    except StoreIncomplete:
        what = "the table of its frames is missing"
    except StoreError as error:
        what = reason(error, path, "the table of its frames")
    rows = (receipt.row_start, receipt.row_stop)
    return Problem("frames", path, what, slot.index_id, slot.key, part, rows)


def _wrong_numbers(slot: Slot, array: ArrayRef, part: int, receipt: Receipt, data: bytes) -> Problem | None:
    path = array.part_path(part)
    try:
        values, crcs = array.format.decode(array.meta, receipt.rows, data)
    except DamageError as error:
        return _problem(slot, part, receipt, path, str(error))
    if checksum_digits(crcs) != receipt.row_crc32c:
        return _problem(slot, part, receipt, path, "its rows are not those that its receipt describes")
    found, said = count_not_finite(values), (receipt.nan_count, receipt.inf_count)
    if found != said:
        what = f"it has {found[0]} NaN and {found[1]} infinite numbers, its receipt says {said[0]} and {said[1]}"
        return _problem(slot, part, receipt, path, what)
    return None


def _bad_rows(array: ArrayRef, receipt: Receipt, data: bytes) -> list[int]:
    """The rows of a damaged part that are not what the receipt says; all of them if its row index is damaged."""
    try:
        spans = array.format.row_spans(array.meta, receipt.rows, len(data), lambda at, size: data[at : at + size])
    except DamageError:
        return list(range(receipt.rows))
    row, bad = np.empty(array.meta.spec.row_bytes, np.uint8), []
    for number, ((offset, size), crc) in enumerate(zip(spans.tolist(), receipt.row_checksums.tolist(), strict=True)):
        stored = data[offset : offset + size] if offset >= 0 else b""
        try:
            if array.meta.codec != "none":
                decompress(stored, row)
                stored = row.tobytes()
        except ValueError:
            bad.append(number)
            continue
        if crc32c(stored) != crc:
            bad.append(number)
    return bad


def _said_bad(bad: int, rows: int) -> str:
    return f"{counted(bad, 'row')} of {rows} damaged" if bad else "the damage lies between its rows"


def _refuse_size(array: ArrayRef, rows: int, size: int) -> None:
    """DamageError before anything is read of a file that cannot hold such rows."""
    row_bytes, plain = array.meta.spec.row_bytes, array.meta.codec == "none"
    least, most = rows * row_bytes if plain else 0, 2 * array.meta.part_rows * (row_bytes + 64) + _ROOM
    if not least <= size <= most:
        raise DamageError(f"its file of {size} bytes cannot hold {rows} rows of {row_bytes} bytes")


def _read_part(slot: Slot, path: Path) -> bytes:
    with open(open_file(slot.layout.root, path), "rb") as file:
        return file.read()


def _preader(fd: int) -> Callable[[int, int], bytes]:
    return lambda offset, size: os.pread(fd, size, offset)


def _missing(slot: Slot, part: int, receipt: Receipt) -> Problem:
    folder = slot.folder or slot.layout.array_dir(slot.index_id, slot.key, ".zarr")
    path = slot.part_file(part) or folder / part_name(part)
    return _problem(slot, part, receipt, path, "its file is missing though it has a receipt")


def _problem(
    slot: Slot, part: int, receipt: Receipt, path: Path, what: str, *, rows: tuple[int, int] | None = None
) -> Problem:
    said = rows or (receipt.row_start, receipt.row_stop)
    return Problem("part", path, what, slot.index_id, slot.key, part, said)
