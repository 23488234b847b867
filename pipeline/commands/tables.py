"""``vtt tables``: the paper's tables of any runs, from their folders alone."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .options import JsonFlag, answer

FORMATS = ("terminal", "markdown", "latex", "json")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tables")(tables)


def tables(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, sweep folders, or folders that hold some.")],
    number: Annotated[
        int | None,
        typer.Option(
            help="One table: 1 distillation, 2 dense maps, 3 grounding, 4 checkpoints of one grounding run.",
            show_default="all that the runs' tasks have",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="terminal, markdown, latex or json.")] = "terminal",
    checkpoint: Annotated[
        str, typer.Option(help="Which validation tables 1-3 show: last, as the paper's table 3, or best.")
    ] = "last",
    random_init: Annotated[
        list[Path] | None,
        typer.Option(help="Runs of the same recipe on an untrained backbone's store, as a control; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write every table in every format into this folder.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """The paper's tables 1-4 from run folders alone, with controls, intervals over seeds, and the paper's own numbers
    where the recipe is the paper's.
    """
    from ...evaluate.paper.build import paper_tables
    from ...evaluate.paper.render import render, tables_json, write_tables
    from ...evaluate.paper.terminal import terminal

    for given, known, flag in ((form, FORMATS, "--format"), (checkpoint, ("last", "best"), "--checkpoint")):
        if given not in known:
            raise ConfigError(f"{flag} cannot be {given!r}", expected=list(known))
    made = paper_tables(
        folders, number=number, at="best" if checkpoint == "best" else "last", random_init=tuple(random_init or ())
    )
    written = [] if out is None else [str(path) for path in write_tables(made, out)]
    if as_json or form == "json":
        answer(tables_json(made) | {"files": written}, "", True)
    elif form == "terminal":
        width = shutil.get_terminal_size((100, 40)).columns
        print("\n".join(terminal(table, width=max(width, 60), colour=_colour()) for table in made), end="")
    else:
        print("\n".join(render(table, form) for table in made), end="")


def _colour() -> bool:
    """Whether stdout can be bold, and nobody minds (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
