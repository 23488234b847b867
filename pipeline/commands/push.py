"""``vtt push``: a trained run to the Hugging Face Hub; ``vtt train --push-to-hub`` ends with the same."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, answer

PushTo = Annotated[
    str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Upload the best checkpoint when it is done.")
]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be uploaded; needs no network.")]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("push")(push)


def push(
    run: Annotated[Path, typer.Argument(help="The run folder, or one checkpoint.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The model repository; made if it is not there.")],
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    private: Private = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Upload what reloads a run (checkpoint, record, metrics, card) in one commit, without a path of this machine."""
    from ...train.share import push as run_push

    done = run_push(run, repo, checkpoint=checkpoint, private=private, dry_run=dry_run)
    answer(done.to_json(), done.render(), as_json)
