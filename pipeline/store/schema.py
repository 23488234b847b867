"""The file ``vtt.json``: which layout a store has, and whether this release can read it."""

import json

from ..errors import StoreCorrupt, StoreError
from ..place import Place
from ..spec import canonical_json
from .layout import NEEDS, SCHEMA

_KIND = "visual_thought feature store"
SCHEMA_TEXT = canonical_json({"kind": _KIND, "needs": NEEDS, "schema": SCHEMA}) + "\n"
"""What the file says."""


def refuse_other_schema(place: Place | str, data: bytes) -> None:
    """StoreError if the bytes of a ``vtt.json`` say that this release cannot read the store."""
    try:
        said = json.loads(data)
        kind, version, needs = said["kind"], said["schema"], str(said["needs"])[:32]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(place, data) from error
    if kind == _KIND and type(version) is int and version > SCHEMA:
        raise StoreError(
            f"{place} was written by a newer release",
            found=f"schema {version}",
            expected=f"schema {SCHEMA} at most",
            remedy=f"needs visual-thought >= {needs}",
        )
    if data != SCHEMA_TEXT.encode():
        raise _damaged(place, data)


def _damaged(place: Place | str, data: bytes) -> StoreCorrupt:
    return StoreCorrupt(
        f"{place}/vtt.json is damaged",
        found=repr(data[:80].decode(errors="replace")),
        expected=SCHEMA_TEXT.strip(),
        remedy=f"`vtt store repair {place}` writes it again",
    )
