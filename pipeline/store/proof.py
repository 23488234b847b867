"""Small files that prove themselves: by their bytes and their name alone one knows that they are whole."""

import json
from pathlib import Path

from ..errors import StoreCorrupt
from .array import parse_array
from .format import SUFFIXES
from .index import parse_index
from .layout import Layout
from .names import Kind, StoreName, parse_name
from .receipt import parse_receipt
from .schema import refuse_other_schema
from .skipped import parse_skipped


def prove(where: str, name: str, data: bytes) -> None:
    """StoreCorrupt (naming ``where``) unless ``data`` can be the file called ``name``.

    Parts and tables of frames prove nothing themselves: their receipts do.
    """
    parsed = parse_name(name)
    if parsed is None:
        raise ValueError(f"{name!r} is no file of a store")
    try:
        _prove(where, parsed, data)
    except StoreCorrupt as error:
        found = error.found or error.problem
        raise StoreCorrupt(f"{where} cannot be trusted", found=found, remedy="repair the store") from error


def _prove(where: str, name: StoreName, data: bytes) -> None:
    match name.kind:
        case Kind.SCHEMA:
            refuse_other_schema(where.removesuffix("/vtt.json"), data)
        case Kind.INDEX:
            parse_index(where, data, name.index_id)
        case Kind.CLAIM:
            if data not in {f"{name.key}{suffix}\n".encode() for suffix in SUFFIXES}:
                raise StoreCorrupt(f"{where} is the claim of another array", found=data[:100])
        case Kind.METADATA:
            parse_array(Layout(Path(where)), name.index_id, name.folder, data)
        case Kind.RECEIPT:
            _prove_receipt(where, name, data)
        case Kind.SKIPPED:
            parse_skipped(where, Path(where).stem, data)
        case Kind.SNAPSHOT:
            _prove_json(where, data)


def _prove_receipt(where: str, name: StoreName, data: bytes) -> None:
    receipt = parse_receipt(where, data)
    said, expected = (receipt.index_id, receipt.feature), (name.index_id, name.key)
    if said != expected:
        raise StoreCorrupt(f"{where} is of another array", found=list(said), expected=list(expected))


def _prove_json(where: str, data: bytes) -> None:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreCorrupt(f"{where} is no JSON") from error
