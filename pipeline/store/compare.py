"""Are two stores equal? They are if their receipts say so; who wrote them, when and how fast does not count."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..spec import differences
from .array import ArrayRef
from .layout import part_name
from .receipt import Receipt, read_receipt
from .store import FeatureStore

_SAID = ("row_start", "row_stop", "bytes", "sha256", "nan_count", "inf_count", "frames_sha256")
_NUMBERS = ("row_start", "row_stop", "nan_count", "inf_count")


def differences_of(a: str | Path, b: str | Path) -> list[str]:
    """Every difference between two stores; none if they are equal.

    Compares which arrays there are, how they are stored, which parts are finished, and of every part the row range,
    bytes, sha256 and counts of numbers that are not finite. Of arrays that are stored in different ways the checksums
    of the rows are compared instead of the bytes of the files.

    Raises:
        StoreError: one of them is no feature store, or an array or a receipt of it is damaged.
    """
    ours, theirs = _arrays(a), _arrays(b)
    lines = [f"only in {a}: {_named(array)}" for key, array in ours.items() if key not in theirs]
    lines += [f"only in {b}: {_named(array)}" for key, array in theirs.items() if key not in ours]
    for key, array in ours.items():
        if key in theirs:
            lines += _of_array(array, theirs[key])
    return lines


def _arrays(path: str | Path) -> Mapping[tuple[str, str], ArrayRef]:
    return {(array.key, array.index_id): array for array in FeatureStore.open(path).arrays()}


def _of_array(a: ArrayRef, b: ArrayRef) -> Iterator[str]:
    if a.spec.to_json() != b.spec.to_json():
        for line in differences(a.spec.to_json(), b.spec.to_json()):
            yield f"{_named(a)}: {line}"
        return
    stored = _storage(a, b)
    yield from (f"{_named(a)}: {line}" for line in stored)
    ours, theirs = set(a.finished_parts()), set(b.finished_parts())
    for part in sorted(ours ^ theirs):
        yield f"{_named(a)}, part {part_name(part)}: only in {(a if part in ours else b).layout.root}"
    for part in sorted(ours & theirs):
        pair = (_receipt(a, part), _receipt(b, part))
        for line in _of_receipt(*pair) if not stored else _of_numbers(*pair):
            yield f"{_named(a)}, part {part_name(part)}: {line}"


def _storage(a: ArrayRef, b: ArrayRef) -> list[str]:
    ours, theirs = (
        {"format": array.format_name, "codec": array.meta.codec, "part_rows": array.meta.part_rows} for array in (a, b)
    )
    scale = [] if a.meta.channel_scale == b.meta.channel_scale else ["channel_scale: other values"]
    return differences(ours, theirs) + scale


def _of_receipt(a: Receipt, b: Receipt) -> list[str]:
    return [
        f"{name}: {getattr(a, name)} != {getattr(b, name)}" for name in _SAID if getattr(a, name) != getattr(b, name)
    ]


def _of_numbers(a: Receipt, b: Receipt) -> list[str]:
    lines = [
        f"{name}: {getattr(a, name)} != {getattr(b, name)}" for name in _NUMBERS if getattr(a, name) != getattr(b, name)
    ]
    if not lines and a.row_crc32c != b.row_crc32c:
        other = int((a.row_checksums != b.row_checksums).sum())
        lines.append(f"{other} of {a.rows} rows hold other numbers")
    return lines


def _receipt(array: ArrayRef, part: int) -> Receipt:
    return read_receipt(array.layout.root, array.receipt_path(part))


def _named(array: ArrayRef) -> str:
    return f"{array.key} (index {array.index_id})"
