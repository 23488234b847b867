"""Receipts: what a finished part holds, said once, next to the part.

A receipt is created last and never changed, so a part exists if and only if its receipt does. It describes the bytes
on disk: their number, their sha256, and one crc32c a row, by which a reader knows every row it reads. The last field
is a checksum of the receipt itself.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from jaxtyping import UInt32
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ..errors import StoreCorrupt, StoreError
from ..spec import canonical_json, sha256_json
from .commit import commit_file
from .files import read_file
from .layout import MAX_PART_ROWS, MAX_PARTS, SCHEMA

MAX_RECEIPT_BYTES = 1 << 16
MAX_INFO_BYTES = 1 << 14
MAX_PART_BYTES = 1 << 34

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Receipt(BaseModel):
    """What one part holds. Two receipts agree if everything but ``info`` does.

    ``index_id`` and ``feature`` name the array, ``row_start`` and ``row_stop`` its rows; ``nan_count`` and
    ``inf_count`` count numbers; ``row_crc32c`` holds 8 hex digits a row (crc32c of the row's own bytes);
    ``frames_sha256`` is the hash of the table of frames beside the receipt, if there is one. ``info`` is for people:
    seconds a stage, host, versions.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)]
    index_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    feature: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}-[0-9a-f]{8}$")]
    row_start: Annotated[int, Field(ge=0, le=MAX_PARTS * MAX_PART_ROWS)]
    row_stop: Annotated[int, Field(ge=1, le=MAX_PARTS * MAX_PART_ROWS)]
    bytes: Annotated[int, Field(ge=1, le=MAX_PART_BYTES)]
    sha256: Sha256
    nan_count: Annotated[int, Field(ge=0, le=MAX_PART_BYTES)]
    inf_count: Annotated[int, Field(ge=0, le=MAX_PART_BYTES)]
    row_crc32c: Annotated[str, Field(pattern=r"^([0-9a-f]{8})+$", max_length=8 * MAX_PART_ROWS)]
    frames_sha256: Sha256 | None
    info: dict[str, JsonValue]

    @model_validator(mode="after")
    def _rows_and_checksums_agree(self) -> Self:
        if self.row_stop - self.row_start != len(self.row_crc32c) // 8:
            raise ValueError("row_crc32c must hold 8 digits for every row")
        return self

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return self.row_stop - self.row_start

    @property
    def row_checksums(self) -> UInt32[np.ndarray, " rows"]:
        """The crc32c of every row."""
        return np.frombuffer(bytearray.fromhex(self.row_crc32c), ">u4").astype(np.uint32)

    def describes_as(self, other: "Receipt") -> bool:
        """Whether both say the same about the part; who wrote it, when and how fast does not count."""
        return self.model_copy(update={"info": {}}) == other.model_copy(update={"info": {}})


def checksum_digits(crcs: UInt32[np.ndarray, " rows"]) -> str:
    """8 hex digits a row: the form of :attr:`Receipt.row_crc32c`."""
    digits: str = crcs.astype(">u4").tobytes().hex()
    return digits


def checked_info(info: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A plain copy of the informational part; StoreError if it is no JSON, not finite or above 16 KiB."""
    try:
        text = canonical_json(dict(info))
    except (TypeError, ValueError) as error:
        raise StoreError("the info of a receipt must be plain JSON", found=error) from error
    if len(text) > MAX_INFO_BYTES:
        raise StoreError("the info of a receipt is too long", found=len(text), expected=f"at most {MAX_INFO_BYTES}")
    plain: dict[str, JsonValue] = json.loads(text)
    return plain


def write_receipt(path: Path, receipt: Receipt, *, commit: Callable[[Path, bytes], bytes] = commit_file) -> Receipt:
    """Create a receipt, or return the one that is there already; ``commit`` is that of the store's layout.

    Raises:
        StoreCorrupt: the one that is there describes something else.
    """
    found = parse_receipt(path, commit(path, receipt_text(receipt)))
    if not found.describes_as(receipt):
        raise StoreCorrupt(
            f"{path} does not describe the bytes on disk",
            found=found.sha256,
            expected=receipt.sha256,
            remedy="the part changed after it was committed: repair the store",
        )
    return found


def read_receipt(root: Path, path: Path) -> Receipt:
    """Read one receipt below a store's root.

    Raises:
        StoreIncomplete: there is none, so the part does not exist.
        StoreCorrupt: its bytes are not what was written.
    """
    return parse_receipt(path, read_file(root, path, limit=MAX_RECEIPT_BYTES))


def receipt_text(receipt: Receipt) -> bytes:
    """One line of JSON with sorted keys; ``checksum`` is the sha256 of the same line without it."""
    fields = receipt.model_dump()
    return (canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n").encode()


def parse_receipt(path: Path | str, data: bytes) -> Receipt:
    """The receipt in the bytes of its file; StoreCorrupt (naming ``path``) if they are not what was written."""
    try:
        fields = json.loads(data)
        checksum = fields.pop("checksum")
        version = fields["schema_version"]
        if type(version) is int and version > SCHEMA and checksum == sha256_json(fields):
            raise StoreError(f"{path} was written by a newer release", found=version, expected=f"at most {SCHEMA}")
        receipt = Receipt.model_validate(fields)
        intact = receipt_text(receipt) == data
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise StoreCorrupt(f"{path} is not a receipt", found=type(error).__name__) from error
    if not intact:
        raise StoreCorrupt(f"{path} was changed after it was written", remedy="repair the store")
    return receipt
