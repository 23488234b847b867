"""Words of anybody's in a card on the Hugging Face Hub: as text or code, never as markup; and its licence line."""

import re
from typing import Any

LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0")
"""Licences that the Hub knows by these names and datasets come under; any other is given by its own name."""


def code(value: object) -> str:
    """As code in a table cell: nothing in it can be markup."""
    return "`" + re.sub(r"[`|\s]+", " ", str(value)).strip() + "`"


def plain(value: object) -> str:
    """As words: what could be markup is left out."""
    return re.sub(r"[^\w .,:()/+—-]+", " ", str(value)).strip()


def licence_fields(licence: str) -> dict[str, Any]:
    """The licence in a card's header."""
    known = licence.lower()
    if known in LICENCES:
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", known).strip("-")[:60] or "unknown"}
