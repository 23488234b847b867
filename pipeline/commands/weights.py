"""``vtt weights``: published checkpoints into files that are safe to open."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, answer

app = typer.Typer(help="Convert published checkpoints.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Convert published checkpoints."""


@app.command("convert-cedirnet")
def convert_cedirnet(
    file: Annotated[Path, typer.Argument(help="A published CeDiRNet-3DoF checkpoint (.pth).")],
    out: Annotated[Path, typer.Option(help="A new folder: model.safetensors, localiser.safetensors, config.json.")],
    localiser: Annotated[
        Path | None, typer.Option(help="localization_checkpoint.pth, where FILE holds no usable localiser.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="What FILE must hash to.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Convert a CeDiRNet-3DoF checkpoint once, in a process of its own; everything later reads safetensors."""
    from ...extract.backbones.cedirnet.convert import convert

    config = convert(file, out, localiser=localiser, sha256=sha256)
    dims = ", ".join(map(str, config["detector"]["dims"]))
    lines = [
        f"{out}: CeDiRNet-3DoF, encoder {dims}",
        f"  localiser  {'learned' if config['localiser'] else 'none in the file: the one made by hand is used'}",
        f"  source     {config['source']['file']}, sha256 {config['source']['sha256']}",
    ]
    answer(config | {"out": str(out)}, "\n".join(lines), as_json)
