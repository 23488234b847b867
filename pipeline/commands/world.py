"""``vtt world``: the embedded SIMULATED world and the checkpoint that goes with it."""

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, answer

app = typer.Typer(help="Make the embedded SIMULATED world: data, labels, checkpoints.", no_args_is_help=True)

DRAWN = 2560  # random episodes of the shipped pretraining
HELD_OUT = 64


@app.command()
def cubes(
    out: Annotated[Path, typer.Option(help="A new folder for dataset, labels and manifest.")],
    episodes: Annotated[int, typer.Option(help="Episodes, at least 3.")] = 40,
    frames: Annotated[int, typer.Option(help="Frames an episode, at least 12.")] = 40,
    width: Annotated[int, typer.Option(help="Frame width in pixels.")] = 320,
    height: Annotated[int, typer.Option(help="Frame height in pixels.")] = 240,
    seed: Annotated[int, typer.Option(help="Everything drawn follows from it.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that render.")] = 2,
    as_json: JsonFlag = False,
) -> None:
    """Write the cube set with LeRobot's own writer: an arm picks up a named cube and puts it into a white box."""
    from ..datasets.world.cubes import CubesConfig, write_cubes

    config = CubesConfig(
        out=out,
        episodes=episodes,
        frames=frames,
        width=width,
        height=height,
        seed=seed,
        workers=workers,
        progress=not as_json,
    )
    made = write_cubes(config)
    manifest = out / f"{made.name}.yaml"
    result = {"manifest": str(manifest), "dataset_root": str(made.root), "labels": str(made.labels)}
    answer(result, f"{manifest}\n  next: vtt extract {manifest} --store STORE --backbone CHECKPOINT", as_json)


@app.command()
def checkpoints(
    out: Annotated[Path, typer.Option(help="A new folder for the checkpoint.")],
    random: Annotated[bool, typer.Option("--random", help="The untrained twin, for the control.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all weights that are not shipped.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write the embedded X-VLA: lerobot's own class and files, its processors and a local tokenizer."""
    from ..datasets.world.checkpoints import write_checkpoint

    write_checkpoint(out, pretrained=not random, seed=seed)
    answer({"xvla": str(out), "pretrained": not random}, str(out), as_json)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Scenes, checkpoints and the final xvla.safetensors; resumes.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 1400,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of scenes, weights and batches.")] = 0,
    episodes: Annotated[int, typer.Option(help="Random episodes to draw.")] = DRAWN,
    start_from: Annotated[Path | None, typer.Option(help="Go on from these weights (xvla.safetensors).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce the shipped weights: draw random scenes, pretrain on presence, phrases and actions. About an hour."""
    from ..datasets.world.pretext import write_pretext
    from ..datasets.world.pretrain import PretrainConfig
    from ..datasets.world.pretrain import pretrain as run_pretrain

    progress = not as_json
    held_out = write_pretext(out / "held-out", episodes=HELD_OUT, seed=7777, workers=2, progress=progress)
    data = write_pretext(out / "scenes", episodes=episodes, seed=seed, workers=2, progress=progress)
    config = PretrainConfig(
        data=data,
        held_out=held_out,
        out=out / "run",
        steps=steps,
        lr=lr,
        seed=seed,
        start_from=start_from,
        progress=progress,
    )
    scores = run_pretrain(config)
    weights = out / "run" / "xvla.safetensors"
    lines = [f"  {name:<14}{value}" for name, value in scores.items()]
    text = "\n".join([f"{weights}: held-out average precision", *lines])
    answer({"weights": str(weights), "held_out": scores}, text, as_json)
