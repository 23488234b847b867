"""Committing: how a part enters a store, whole or not at all, whoever else is writing."""

import hashlib
import os
from collections.abc import Buffer, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt32
from pydantic import JsonValue

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from .array import ArrayRef, load_array
from .commit import make_folders
from .format import DamageError, count_not_finite, load_format, row_bytes, row_checksums
from .frames import write_frames
from .layout import SCHEMA, part_name
from .plan import ArrayPlan, plan_array, refuse_other
from .receipt import Receipt, checked_info, checksum_digits, read_receipt, write_receipt
from .store import FeatureStore

__all__ = ["ArrayPlan", "commit_part", "describe_part", "plan_array"]


def commit_part(
    store: FeatureStore,
    plan: ArrayPlan,
    part: int,
    values: Shaped[np.ndarray, " rows *stored"],
    *,
    frames: pa.Table | None = None,
    info: Mapping[str, JsonValue] | None = None,
) -> Receipt:
    """Put one part into the store; it exists when this returns, and not before.

    The file is created first, the table of frames second, the receipt last. If another writer committed the part
    or its file in the meantime, theirs stays and the receipt describes theirs.

    Args:
        store: where.
        plan: from :func:`plan_array` (not a dry one).
        part: which part.
        values: (rows of the part, *stored shape), uint16 bfloat16 bits, float32 or int8, as the feature's tier says.
        frames: :data:`~.frames.FRAMES_SCHEMA`, one row a row of the part.
        info: for people, not compared: seconds a stage, host, versions.

    Raises:
        StoreError: values or frames of another type, shape or length; or the array was never created.
        StoreMismatch: the array on disk is of another feature.
        StoreCorrupt: a file that is already there is damaged.
        MachineError: disk full or not writable.
    """
    array = _array_of(store, plan)
    _check_values(array, part, values)
    path = array.receipt_path(part)
    if store.layout.exists(path):
        return read_receipt(store.layout.root, path)
    details = checked_info(info or {})
    make_folders(store.layout.root, path.parent)
    whole = np.ascontiguousarray(values)
    crcs = row_checksums(row_bytes(whole))
    pieces = array.format.pieces(array.meta, whole, crcs)
    with ThreadPoolExecutor(2) as pool:  # hashing takes about as long as the disk
        digest, not_finite = pool.submit(_digest, pieces), pool.submit(count_not_finite, whole)
        theirs = store.layout.commit_pieces(array.part_path(part), pieces)
    frames_sha256 = None if frames is None else write_frames(array, part, frames)
    if theirs is None:
        receipt = _receipt(
            array, part, digest.result(), not_finite.result(), crcs, frames_sha256=frames_sha256, info=details
        )
    else:
        receipt = describe_part(array, part, theirs, frames_sha256=frames_sha256, info=details)
    written = write_receipt(path, receipt, commit=store.layout.commit)
    if store.layout.remote is None:
        _stand(array, part, pieces if theirs is None else [theirs], frames)
    return written


def describe_part(
    array: ArrayRef, part: int, data: bytes, *, frames_sha256: str | None, info: dict[str, JsonValue]
) -> Receipt:
    """The receipt of the bytes of one part; StoreCorrupt if they are no such part."""
    try:
        values, crcs = array.format.decode(array.meta, len(array.meta.part_range(part)), data)
    except DamageError as error:
        raise StoreCorrupt(
            f"{array.part_path(part)} is damaged",
            found=error,
            remedy="it has no receipt, so nothing relies on it: delete that file and re-run",
        ) from error
    said = _digest([data]), count_not_finite(values)
    return _receipt(array, part, *said, crcs, frames_sha256=frames_sha256, info=info)


class _Digest(NamedTuple):
    bytes: int
    sha256: str


def _digest(pieces: Sequence[Buffer]) -> _Digest:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return _Digest(sum(memoryview(piece).nbytes for piece in pieces), digest.hexdigest())


def _receipt(
    array: ArrayRef,
    part: int,
    digest: _Digest,
    not_finite: tuple[int, int],
    crcs: UInt32[np.ndarray, " rows"],
    *,
    frames_sha256: str | None,
    info: dict[str, JsonValue],
) -> Receipt:
    rows, (nan_count, inf_count) = array.meta.part_range(part), not_finite
    return Receipt(
        schema_version=SCHEMA,
        index_id=array.index_id,
        feature=array.key,
        row_start=rows.start,
        row_stop=rows.stop,
        bytes=digest.bytes,
        sha256=digest.sha256,
        nan_count=nan_count,
        inf_count=inf_count,
        row_crc32c=checksum_digits(crcs),
        frames_sha256=frames_sha256,
        info=info,
    )


def _stand(array: ArrayRef, part: int, pieces: Sequence[Buffer], frames: pa.Table | None) -> None:
    """Put the files of a part back if a collector took them for garbage before it could see the receipt.

    A collector that comes later sees the receipt, and one that came before is seen here: :mod:`.collect`.
    """
    path, table = array.part_path(part), array.layout.frames_file(array.index_id, array.key, part)
    if not os.path.lexists(path) and array.layout.commit_pieces(path, pieces) is not None:
        raise StoreCorrupt(f"{path} is not what its receipt describes", remedy="repair the store")
    if frames is not None and not os.path.lexists(table):
        write_frames(array, part, frames)


def _array_of(store: FeatureStore, plan: ArrayPlan) -> ArrayRef:
    folder_name = plan.spec.key + load_format(plan.store_format).suffix
    try:
        array = load_array(store.layout, plan.index_id, folder_name)
    except StoreIncomplete as error:
        raise StoreError(
            f"{store.path} has no array {plan.index_id}/{folder_name}", remedy="plan without dry=True first"
        ) from error
    refuse_other(array, plan.spec, plan.channel_scale)
    return array


def _check_values(array: ArrayRef, part: int, values: Shaped[np.ndarray, "..."]) -> None:
    if not 0 <= part < array.num_parts:
        raise StoreError(f"{array.path} has no part {part}", expected=f"0 … {array.num_parts - 1}")
    expected = (len(array.meta.part_range(part)), *array.spec.stored_shape)
    if values.shape != expected or values.dtype != array.meta.dtype:
        raise StoreError(
            f"values do not fit part {part_name(part)} of {array.path}",
            found=f"{values.dtype} {values.shape}",
            expected=f"{array.meta.dtype} {expected}",
        )
