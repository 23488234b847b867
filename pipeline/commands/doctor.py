"""``vtt doctor``: is this machine fit, and what to do if it is not."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..place import folder_of
from .options import JsonFlag, answer, store_place

if TYPE_CHECKING:
    from ..doctor.findings import Finding, Status

HUB = "https://huggingface.co"
_COLOURS = {
    "ok": typer.colors.GREEN,
    "note": typer.colors.BLUE,
    "warn": typer.colors.YELLOW,
    "missing": typer.colors.RED,
}
_ENVIRONMENT = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    store: Annotated[
        str | None, typer.Option(help="A store, or where one is to be: its disk is tried, in a temporary folder.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at versions, decoder, processor, GPU, disk and Hub; exit code 5 if something that is needed is missing."""
    from ..doctor.findings import is_well, render, to_json

    findings = _look(store)
    answer(to_json(findings), render(findings, _paint), as_json)
    if not is_well(findings):
        raise typer.Exit(_ENVIRONMENT)


def _look(store: str | None) -> "list[Finding]":
    from ..doctor.disk import look_at_disk
    from ..doctor.hardware import look_at_hardware
    from ..doctor.hub import look_at_hub
    from ..doctor.software import look_at_software

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    place = None if store is None else folder_of(store_place(store))
    area = "disk" if store is None else f"store {store}"
    return [
        *look_at_software(),
        *look_at_hardware(),
        *look_at_disk(place or Path(), area, probe=place is not None),
        look_at_hub(os.environ.get("HF_ENDPOINT", HUB), offline=offline),
    ]


def _paint(text: str, status: "Status") -> str:
    """Colours on a terminal only."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return typer.style(text, fg=_COLOURS[status], bold=status in ("warn", "missing"))
