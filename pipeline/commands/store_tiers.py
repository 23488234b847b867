"""``vtt store convert`` and ``vtt store fidelity``: other formats, smaller tiers, and what they cost."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, answer, named


def register(app: typer.Typer) -> None:
    """Add the commands to ``vtt store``."""
    app.command("convert")(convert)
    app.command("fidelity")(fidelity)


def convert(
    source: Annotated[Path, typer.Argument(help="A feature store; never changed.", metavar="SRC")],
    path: Annotated[Path, typer.Argument(help="The other store, new or of an earlier conversion.", metavar="DST")],
    store_format: Annotated[str, typer.Option("--format", help="zarr or hdf5.")] = "zarr",
    tier: Annotated[str, typer.Option(help="same (bit for bit), int8, bf16 or fp32.")] = "same",
    codec: Annotated[str, typer.Option(help="none, or bitshuffle-zstd (lossless, zarr only).")] = "none",
    features: Annotated[str, typer.Option(help="Features, comma-separated; all by default.")] = "",
    manifest: Annotated[
        str | None, typer.Option(help="For int8: whose training episodes its scale is measured on.")
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Convert what is there of a store that is not finished.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert a store into another one, part by part; run it again to resume, or after the source has grown."""
    from ..config import build
    from ..manifest import load_manifest
    from ..store.conversion import Target
    from ..store.convert import convert as run_convert

    values = {"store_format": store_format, "tier": tier, "codec": codec}
    done = run_convert(
        source,
        path,
        build(Target, values, source="vtt store convert"),
        features=named(features),
        manifest=None if manifest is None else load_manifest(manifest),
        allow_partial=allow_partial,
        progress=not as_json,
    )
    answer(done.to_json(), done.render(), as_json)


def fidelity(
    store: Annotated[Path, typer.Argument(help="A feature store.")],
    other: Annotated[
        Path | None, typer.Argument(help="A store converted from it; without, tiers are simulated.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run whose head is judged on each tier.")] = None,
    manifest: Annotated[
        str | None, typer.Option(help="Measure on episodes that this manifest does not train on.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows sampled of each feature.", min=1)] = 512,
    as_json: JsonFlag = False,
) -> None:
    """What a smaller tier costs: bytes a row, cosine, relative error, and the change of a trained head's metric."""
    from ..manifest import load_manifest
    from ..store.fidelity import measure_fidelity

    judged = None
    chosen = None if manifest is None else load_manifest(manifest)
    if run is not None:
        from ...evaluate.fidelity import judge_tiers

        judged = judge_tiers(run, store, other=other, manifest=manifest)
        chosen = chosen or judged.manifest
    found = measure_fidelity(store, other=other, manifest=chosen, rows=rows)
    result, text = found.to_json(), found.render()
    if judged is not None:
        result, text = result | {"run": judged.to_json()}, f"{text}\n\n{judged.render()}"
    answer(result, text, as_json)
