"""``vtt store``: look into a feature store, check it, mend it, put stores together."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import store_share, store_tiers
from .options import JsonFlag, answer, store_place

app = typer.Typer(help="Look into, check, repair, join and share feature stores.", no_args_is_help=True)

StorePath = Annotated[Path, typer.Argument(help="The feature store.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]

PROBLEMS = 3
"""The exit code of a command that did what it should and found something wrong."""


@app.callback()
def _group() -> None:
    """Look into, check, repair, join and share feature stores."""


@app.command("ls")
def list_features(
    store: Annotated[str, typer.Argument(help="The feature store: a folder or a URL.")],
    as_json: JsonFlag = False,
) -> None:
    """List a store's features: rows there and planned, bytes, and what made them."""
    from ..store import FeatureStore
    from ..store.listing import summarise

    summary = summarise(FeatureStore.open(store_place(store)))
    answer(summary.to_json(), summary.render(), as_json)


@app.command("inspect")
def inspect_features(
    store: StorePath,
    feature: Annotated[str | None, typer.Argument(help="One feature, by name or key; default: all.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say everything about a store's features: what made them, which rows are there, where the time went."""
    from ..store.inspection import inspect

    found = inspect(store, feature)
    answer(found.to_json(), found.render(), as_json)


@app.command("du")
def disk_usage(store: StorePath, as_json: JsonFlag = False) -> None:
    """Say where a store's bytes are: by feature, and by kind of file."""
    from ..store.usage import measure

    usage = measure(store)
    answer(usage.to_json(), usage.render(), as_json)


@app.command("verify")
def verify_store(
    store: StorePath,
    full: Annotated[bool, typer.Option("--full", help="Read every byte, not only what describes the bytes.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a store against its receipts; name every damaged part, its rows, and the command that makes it again.

    Ends with 3 if anything is wrong.
    """
    from ..store.verify import verify

    verdict = verify(store, full=full, progress=full and not as_json)
    answer(verdict.to_json(), verdict.render(), as_json)
    _end(ok=verdict.ok)


@app.command("repair")
def repair_store(
    store: StorePath,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read every byte first.")] = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Move what is damaged into quarantine, so that `vtt extract` makes it again; nothing is deleted.

    Ends with 3 if something is still wrong.
    """
    from ..store.repair import repair

    done = repair(store, full=not quick, dry_run=dry_run, progress=not quick and not as_json)
    answer(done.to_json(), done.render(), as_json)
    _end(ok=done.ok)


@app.command("seal")
def seal_store(store: StorePath, as_json: JsonFlag = False) -> None:
    """Write a snapshot: a numbered list of what the store holds, which verify and gc go by from then on."""
    from ..store.snapshot import seal

    snapshot = seal(store)
    answer(snapshot.to_json(), snapshot.render(), as_json)


@app.command("gc")
def collect_garbage(
    store: StorePath,
    dry_run: DryRun = False,
    min_age: Annotated[float, typer.Option("--min-age", min=0, help="Keep files younger than this many hours.")] = 24.0,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Remove what repairs took out, too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove what writers that died have left behind; never what a receipt or a snapshot names."""
    from ..store.collect import collect

    done = collect(store, min_age_s=min_age * 3600, dry_run=dry_run, quarantine=quarantine)
    answer(done.to_json(), done.render(), as_json)


@app.command("merge")
def merge_stores(
    target: Annotated[Path, typer.Argument(help="The store to fill; made if it is not there.")],
    sources: Annotated[list[Path], typer.Argument(help="The stores to take from; they stay as they are.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy every byte, even where files could be linked.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take the parts of other stores into one; refuses what does not fit before anything is written."""
    from ..store.merge import merge

    done = merge(target, sources, link=not copy)
    answer(done.to_json(), done.render(), as_json)


@app.command("diff")
def compare_stores(
    a: Annotated[Path, typer.Argument(help="A feature store.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: JsonFlag = False,
) -> None:
    """Compare two stores by their receipts: rows, bytes, sha256, numbers that are not finite.

    Ends with 3 if they differ.
    """
    from ..store.compare import differences_of

    lines = differences_of(a, b)
    result: dict[str, Any] = {"a": str(a), "b": str(b), "equal": not lines, "differences": lines}
    answer(result, "\n".join(lines) or f"{a} and {b} are equal", as_json)
    _end(ok=not lines)


store_tiers.register(app)
store_share.register(app)


def _end(*, ok: bool) -> None:
    if not ok:
        raise typer.Exit(PROBLEMS)
