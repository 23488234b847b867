"""``vtt extract``, ``vtt train``, ``vtt eval``: the three stages."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .options import JsonFlag, answer, hash_cache, lerobot_home, store_cache, store_place

OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add the three stages to the command line."""
    app.command("extract")(extract)
    app.command("train", context_settings=OVERRIDES)(train)
    app.command("eval")(evaluate)


def extract(
    manifest: Annotated[str, typer.Argument(help="A data manifest: a YAML file, or the name of a shipped one.")],
    store: Annotated[str, typer.Option(help="The feature store, a folder or a URL; made if it is not there.")],
    backbone: Annotated[str, typer.Option(help="X-VLA checkpoint: a directory or a Hub id.")] = "lerobot/xvla-base",
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub checkpoint.")] = None,
    features: Annotated[str, typer.Option(help="Features to extract, comma-separated.")] = "z,r",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    dtype: Annotated[str, typer.Option(help="Compute and storage type: bf16 or fp32.")] = "bf16",
    store_format: Annotated[str, typer.Option(help="Format of new arrays: zarr or hdf5.")] = "zarr",
    batch_size: Annotated[int, typer.Option(help="Frames a batch.")] = 16,
    on_error: Annotated[
        str, typer.Option(help="A damaged frame: stop, or skip-episode (the store says which; train refuses it).")
    ] = "stop",
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be done, load no weights.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a frozen backbone once over a LeRobot dataset and store its features; resumes, and extracts only what is
    missing.
    """
    from ...extract.config import ExtractConfig
    from ..config import build

    values = {
        "manifest": manifest,
        "store": store_place(store),
        "checkpoint": backbone,
        "checkpoint_revision": revision,
        "features": [name.strip() for name in features.split(",") if name.strip()],
        "device": device,
        "dtype": dtype,
        "store_format": store_format,
        "batch_size": batch_size,
        "on_error": on_error,
        "hash_cache": str(hash_cache()),
        "lerobot_home": str(lerobot_home()) if lerobot_home() else None,
        "progress": not as_json,
    }
    config = build(ExtractConfig, values, source="vtt extract")
    if plan:
        from ...extract.plan import plan as make_plan
        from ...extract.plan import render

        planned = make_plan(config)
        answer(planned.to_json(), render(planned), as_json)
        return
    from ...extract.run import extract as run_extract

    done = run_extract(config)
    answer(done.to_json(), done.render(), as_json)


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe: the name of a shipped one, or a YAML file.")],
    store: Annotated[str, typer.Option(help="The feature store to read, a folder or a URL.")],
    out: Annotated[Path, typer.Option(help="The run folder; must be new, or the one to --resume.")],
    manifest: Annotated[str, typer.Option(help="The data manifest: episodes, splits, labels.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe key: --set decoder.dim=256.")
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Train although the store is only partly extracted.")
    ] = False,
    allow_skipped: Annotated[
        bool, typer.Option("--allow-skipped", help="Train although damaged episodes were left out.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a head and its controls from cached features; never loads a backbone. LeRobot's habit works too:
    --decoder.dim=256.
    """
    from ...train.config import build_config
    from ...train.run import train as run_train

    changes = [*(overrides or []), *_dotted(context.args)]
    if as_json:
        changes.append("progress=false")
    if allow_partial:
        changes.append("loader.allow_partial=true")
    if allow_skipped:
        changes.append("loader.allow_skipped=true")
    config = build_config(recipe, changes, store=store_place(store), manifest=manifest, out=out, resume=resume)
    done = run_train(config)
    answer(done.to_json(), done.render(), as_json)


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default: RUN/eval.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    store: Annotated[str | None, typer.Option(help="The feature store, if it moved: a folder or a URL.")] = None,
    manifest: Annotated[str | None, typer.Option(help="The data manifest, if it moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder, for pictures, if it moved.")] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate runs with their controls, from run folders and the store alone; print the table."""
    from ...evaluate.config import EvalConfig
    from ...evaluate.run import evaluate as run_evaluate
    from ...evaluate.tables import terminal_table
    from ..config import build

    values = {
        "runs": [str(run) for run in runs],
        "out": str(out or runs[0] / "eval"),
        "split": split,
        "checkpoint": checkpoint,
        "store": store and store_place(store),
        "store_cache": str(store_cache()),
        "manifest": manifest,
        "root": root and str(root),
        "figures": figures,
        "hash_cache": str(hash_cache()),
        "lerobot_home": str(lerobot_home()) if lerobot_home() else None,
    }
    report = run_evaluate(build(EvalConfig, values, source="vtt eval"))
    answer(report.to_json(), terminal_table(report), as_json)


def _dotted(arguments: list[str]) -> list[str]:
    """``--decoder.dim=256`` as ``decoder.dim=256``; anything else that was left over is an unknown option."""
    changes = []
    for argument in arguments:
        if not argument.startswith("--") or "=" not in argument:
            raise ConfigError(
                "unknown option",
                found=argument,
                expected="an option of `vtt train`, or a recipe key as --key.name=value",
                remedy="see `vtt train --help`",
            )
        changes.append(argument.removeprefix("--"))
    return changes
