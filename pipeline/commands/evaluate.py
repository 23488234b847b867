"""``vtt eval``: what runs have come to, and whether a live backbone still agrees with the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, VisualThoughtError
from .options import JsonFlag, answer, hash_cache, lerobot_home, store_cache, store_place

if TYPE_CHECKING:
    from ...evaluate.config import EvalConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default: RUN/eval.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    store: Annotated[str | None, typer.Option(help="The feature store, if it moved: a folder or a URL.")] = None,
    manifest: Annotated[str | None, typer.Option(help="The data manifest, if it moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder, for pictures, if it moved.")] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures.")] = True,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Of two runs: by how much they differ on these episodes, by paired bootstrap."),
    ] = False,
    random_init: Annotated[
        Path | None,
        typer.Option(help="A run of the same recipe on features of an untrained backbone, as a control."),
    ] = None,
    random_init_store: Annotated[str | None, typer.Option(help="Its store, if it moved.")] = None,
    threshold: Annotated[float, typer.Option(help="A cell is relevant from this score on (grounding).")] = 0.5,
    precision: Annotated[str, typer.Option(help="fp32, bf16, or run: as the run validated itself.")] = "run",
    batch_size: Annotated[int, typer.Option(help="Examples a batch; changes no number beyond rounding.")] = 128,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    parity: Annotated[
        int | None,
        typer.Option(help="Instead: make the rows of so many random examples again with the live backbone, compare."),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(help="With --parity: KIND=CHECKPOINT, where the backbone's weights are, if they moved."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate runs with their controls, from run folders and the store alone; print the table, write report.html."""
    from ...evaluate.config import EvalConfig
    from ...evaluate.run import evaluate as run_evaluate
    from ...evaluate.tables import closing, terminal_table
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
        "compare": compare,
        "random_init": random_init and str(random_init),
        "random_init_store": random_init_store and store_place(random_init_store),
        "threshold": threshold,
        "precision": precision,
        "batch_size": batch_size,
        "device": device,
        "hash_cache": str(hash_cache()),
        "lerobot_home": str(lerobot_home()) if lerobot_home() else None,
    }
    config = build(EvalConfig, values, source="vtt eval")
    if parity is not None or backbone:
        _compare_live(config, parity, backbone or [], as_json)
        return
    report = run_evaluate(config)
    told = {"report": str(report.page), "missing": list(report.missing)}
    answer(report.to_json() | told, f"{terminal_table(report)}\n{closing(report)}", as_json)


def _compare_live(config: "EvalConfig", rows: int | None, backbones: list[str], as_json: bool) -> None:
    """``vtt eval RUN --parity N``: print the comparison; exit code 3 when a feature is outside its tolerance."""
    from ...evaluate.live.backbones import Caches
    from ...evaluate.live.parity import parity

    if rows is None:
        raise ConfigError("--backbone belongs to --parity", remedy="add --parity 32")
    if len(config.runs) != 1:
        raise ConfigError("--parity compares one run", found=[str(run) for run in config.runs])
    found = parity(config, config.runs[0], rows=rows, backbones=backbones, caches=Caches(hash_cache()))
    answer(found.to_json(), found.render(), as_json)
    if not found.holds:
        raise typer.Exit(VisualThoughtError.exit_code)
