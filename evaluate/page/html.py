"""From a page's content to one HTML file that loads nothing, runs nothing, and in which data is text.

Three walls, each enough: every value is escaped by the template; a Content-Security-Policy forbids scripts and every
address but ``data:`` pictures, and allows the one style sheet by its hash; and no value is ever written where a
browser expects a tag, an address or a style.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ...pipeline.errors import MachineError
from .content import Figure, Item, Page

FOLDER = Path(__file__).parent
PNG = b"\x89PNG\r\n\x1a\n"
SECTIONS = (
    ("results", "Results", "tables"),
    ("figures", "Figures", "figures"),
    ("failures", "Failures", "failures"),
    ("cost", "Cost", "cost"),
    ("provenance", "Provenance", "provenance"),
)
"""Id, heading and the field of :class:`~.content.Page` of every section, in order."""


@dataclass(frozen=True)
class Picture:
    """A figure as the template sees it: its PNG inline, with its size in pixels."""

    kind = "picture"
    title: str
    caption: str
    alt: str
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Section:
    """A section as the template sees it; an item's address is ``<id>-<number from 1>``."""

    id: str
    heading: str
    items: Sequence[Item | Picture]


def write_page(page: Page, path: Path) -> Path:
    """Write the page under its final name in one step, durably; returns the path.

    Raises:
        MachineError: it cannot be written; what was there is intact.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(render_page(page))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise MachineError(
            f"{path} cannot be written", found=error.strerror, remedy="free space or permit it; nothing was changed"
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def render_page(page: Page) -> str:
    """The page as HTML. Pictures that cannot be read are left out and named among what is missing."""
    missing = list(page.missing)
    sections = [
        Section(id_, heading, items)
        for id_, heading, field in SECTIONS
        if (items := list(_shown(getattr(page, field), missing)))
    ]
    style = style_sheet()
    told = replace(page, missing=tuple(missing))
    return _template().render(page=told, sections=sections, style=style, policy=policy(style))


def style_sheet() -> str:
    """The one style sheet, exactly as it stands between its tags."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def policy(style: str) -> str:
    """A Content-Security-Policy that allows this style sheet and inline pictures, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def visible(value: Any) -> str:
    """A value as text in which nothing acts: control, direction and half characters are spelled out.

    Without this, an instruction could turn the reading direction around or be no valid UTF-8.
    """
    if isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(value))


def _shown(items: Sequence[Item], missing: list[str]) -> Iterator[Item | Picture]:
    for item in items:
        if not isinstance(item, Figure):
            yield item
            continue
        try:
            yield _picture(item)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            missing.append(f"the picture “{item.title}” could not be shown: {why}")


def _picture(figure: Figure) -> Picture:
    """Raises OSError, or ValueError for a file that is no PNG."""
    data = figure.png if isinstance(figure.png, bytes) else figure.png.read_bytes()
    if data[:8] != PNG or data[12:16] != b"IHDR":
        raise ValueError("the file is no PNG")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    address = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return Picture(figure.title, figure.caption, figure.alt, address, width, height)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")
