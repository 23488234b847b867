"""``vtt sweep``: tables of ablations, trained in one pass over the features where they read the same."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, VisualThoughtError
from .options import JsonFlag, answer, named, store_place


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep)


def sweep(
    file: Annotated[str, typer.Argument(help="A sweep: the name of a shipped one (table1 …), or a YAML file.")],
    store: Annotated[str, typer.Option(help="The feature store to read, a folder or a URL.")],
    out: Annotated[Path, typer.Option(help="The sweep's folder; must be new, or the one to --resume.")],
    manifest: Annotated[str, typer.Option(help="The data manifest: episodes, splits, labels.")],
    recipe: Annotated[str | None, typer.Option(help="Another base recipe than the file's.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the base recipe: --set steps=800.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Other seeds than the file's, comma-separated.")] = None,
    vectorise: Annotated[
        str, typer.Option(help="Train same-shaped heads as one: auto (where that is faster), always, never.")
    ] = "auto",
    plan: Annotated[
        bool, typer.Option("--plan", help="Print cells, groups and how often the store is read; train nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep in --out.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train every cell of a sweep with every seed; heads that read the same features share one pass over the store."""
    from ...train.sweep.config import SweepConfig, load_sweep
    from ...train.sweep.plan import plan_sweep
    from ...train.sweep.run import sweep as run_sweep
    from ..config import build

    source, content = load_sweep(file, recipe=recipe, overrides=overrides or (), seeds=_numbers(seeds))
    values = {"source": source, "file": content, "store": store_place(store), "manifest": manifest, "out": out}
    values |= {"resume": resume, "vectorise": vectorise, "progress": not as_json}
    config = build(SweepConfig, values, source="vtt sweep")
    if plan:
        planned = plan_sweep(config)
        answer(planned.to_json(), planned.render(), as_json)
        return
    done = run_sweep(config)
    answer(done.to_json(), done.render(), as_json)
    if done.failed:
        raise VisualThoughtError(
            f"{len(done.failed)} of {len(done.outcomes)} runs failed",
            found=[f"{run.cell}/seed-{run.seed}: {run.reason}" for run in done.failed],
            remedy="change the sweep, or remove a failed run's folder and --resume to try it again",
        )


def _numbers(text: str | None) -> tuple[int, ...]:
    """Seeds as they are named on a command line."""
    try:
        return tuple(int(part) for part in named(text or ""))
    except ValueError:
        raise ConfigError("--seeds cannot be read", found=text, expected="whole numbers: 0,1,2") from None
