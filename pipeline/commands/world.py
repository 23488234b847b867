"""``vtt world``: the embedded SIMULATED world and the checkpoint that goes with it."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import JsonFlag, answer

if TYPE_CHECKING:
    from ..datasets.world.pretext import Draw
    from ..manifest import DatasetManifest

app = typer.Typer(help="Make the embedded SIMULATED world: data, labels, checkpoints.", no_args_is_help=True)

DRAWN = 2560  # random episodes of the shipped pretraining
HELD_OUT = 64

Episodes = Annotated[int, typer.Option(help="Episodes, at least 3.")]
Frames = Annotated[int, typer.Option(help="Frames an episode, at least 12.")]
Width = Annotated[int, typer.Option(help="Frame width in pixels.")]
Height = Annotated[int, typer.Option(help="Frame height in pixels.")]
Seed = Annotated[int, typer.Option(help="Everything drawn follows from it.")]
Workers = Annotated[int, typer.Option(help="Processes that render.")]


class Pretrained(StrEnum):
    """The embedded backbones whose weights are shipped."""

    xvla = "xvla"
    dinov2 = "dinov2"


class Checkpoint(StrEnum):
    """The embedded backbones."""

    xvla = "xvla"
    dinov2 = "dinov2"
    cedirnet = "cedirnet"


@app.command()
def cubes(
    out: Annotated[Path, typer.Option(help="A new folder for dataset, labels and manifest.")],
    episodes: Episodes = 40,
    frames: Frames = 40,
    width: Width = 320,
    height: Height = 240,
    seed: Seed = 0,
    workers: Workers = 2,
    as_json: JsonFlag = False,
) -> None:
    """Write the cube set with LeRobot's own writer: an arm picks up a named cube and puts it into a white box."""
    from ..datasets.world.cubes import write_cubes
    from ..datasets.world.recording import WorldConfig

    config = WorldConfig(out, episodes, frames, width, height, seed, workers, progress=not as_json)
    _answer_set(out, write_cubes(config), as_json)


@app.command()
def cloth(
    out: Annotated[Path, typer.Option(help="A new folder for dataset, labels, corners and manifest.")],
    episodes: Episodes = 40,
    frames: Frames = 40,
    width: Width = 320,
    height: Height = 240,
    seed: Seed = 0,
    workers: Workers = 2,
    as_json: JsonFlag = False,
) -> None:
    """Write the cloth set with LeRobot's own writer: an arm carries a corner of a folded cloth to a white box."""
    from ..datasets.world.cloths import CORNERS, write_cloths
    from ..datasets.world.recording import WorldConfig

    config = WorldConfig(out, episodes, frames, width, height, seed, workers, progress=not as_json)
    _answer_set(out, write_cloths(config), as_json, corners=str(out.absolute() / CORNERS))


def _answer_set(out: Path, made: "DatasetManifest", as_json: bool, **more: str) -> None:
    manifest = out / f"{made.name}.yaml"
    result = {"manifest": str(manifest), "dataset_root": str(made.root), "labels": str(made.labels)} | more
    answer(result, f"{manifest}\n  next: vtt extract {manifest} --store STORE --backbone CHECKPOINT", as_json)


@app.command()
def checkpoints(
    out: Annotated[Path, typer.Option(help="A new folder: the X-VLA itself, and `dinov2` and `cedirnet` within it.")],
    only: Annotated[
        list[Checkpoint] | None,
        typer.Option(help="Write this one alone (repeatable); cedirnet is trained first, for minutes."),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="The untrained twins, for the control.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all weights that are not shipped.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write the embedded X-VLA and DINOv2 in their own files, and train a narrow CeDiRNet on cloth scenes."""
    wanted = only or list(Checkpoint)
    result: dict[str, Any] = {"pretrained": not random}
    lines: list[str] = []
    if Checkpoint.xvla in wanted:
        from ..datasets.world.checkpoints import write_checkpoint

        result["xvla"] = str(write_checkpoint(out, pretrained=not random, seed=seed))
        lines.append(str(out))
    if Checkpoint.dinov2 in wanted:
        from ..datasets.world.dinov2 import write_dinov2

        result["dinov2"] = str(write_dinov2(out / "dinov2", pretrained=not random, seed=seed))
        lines.append(result["dinov2"])
    if Checkpoint.cedirnet in wanted:
        from ..datasets.world.corner_training import CornerConfig
        from .cedirnet_training import write_cedirnet

        config = CornerConfig(seed=seed, progress=not as_json)
        trained = write_cedirnet(out / "cedirnet", pretrained=not random, seed=seed, config=config)
        result |= {"cedirnet": str(out / "cedirnet"), "corners": trained}
        lines += [result["cedirnet"], *_corner_lines(trained)]
    answer(result, "\n".join(lines), as_json)


def _corner_lines(trained: Mapping[str, Any]) -> list[str]:
    if "corner_f1" not in trained:
        return []
    precision, recall, height_width = trained["corner_precision"], trained["corner_recall"], trained["image_size"]
    spent, cpu = sum(trained["seconds"].values()), sum(trained["cpu_seconds"].values())
    return [
        f"  corner F1 {trained['corner_f1']:.3f} at {trained['within_px']:.0f} px "
        f"(precision {precision:.3f}, recall {recall:.3f}; {trained['held_out_corners']} corners in "
        f"{trained['held_out_images']} held-out images of {height_width[1]}x{height_width[0]})",
        f"  {spent:.0f} s, {cpu:.0f} CPU s",
    ]


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Scenes, checkpoints and the final safetensors; resumes.")],
    only: Annotated[Pretrained, typer.Option(help="Which backbone to pretrain.")] = Pretrained.xvla,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 1400,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(help="Frames of the cube table a step.")] = 32,
    seed: Annotated[int, typer.Option(help="Of scenes, weights and batches.")] = 0,
    episodes: Annotated[int, typer.Option(help="Random episodes of each table to draw.")] = DRAWN,
    start_from: Annotated[Path | None, typer.Option(help="Go on from these weights (xvla.safetensors).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Reproduce the shipped weights: draw random scenes, pretrain on presence, phrases and actions. About an hour."""
    from ..datasets.world.pretext import draw_cube_rows
    from ..datasets.world.pretraining import PretrainConfig

    progress = not as_json
    data, held_out = _draw_scenes(out, "scenes", episodes, seed, draw_cube_rows, progress)
    folder = "run" if only is Pretrained.xvla else f"run-{only}"
    config = PretrainConfig(
        data=data,
        held_out=held_out,
        out=out / folder,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        start_from=start_from,
        progress=progress,
    )
    if only is Pretrained.xvla:
        from ..datasets.world.cloth_pretext import draw_cloth_rows
        from ..datasets.world.pretrain import ClothScenes
        from ..datasets.world.pretrain import pretrain as pretrain_xvla

        cloths = ClothScenes(*_draw_scenes(out, "cloths", episodes, seed, draw_cloth_rows, progress))
        scores = pretrain_xvla(config, cloths)
    else:
        from ..datasets.world.dinov2 import pretrain_dinov2

        scores = pretrain_dinov2(config)
    weights = config.out / f"{only}.safetensors"
    lines = [f"  {name:<14}{value}" for name, value in scores.items()]
    text = "\n".join([f"{weights}: held-out average precision", *lines])
    answer({"weights": str(weights), "held_out": scores}, text, as_json)


def _draw_scenes(out: Path, name: str, episodes: int, seed: int, draw: "Draw", progress: bool) -> tuple[Path, Path]:
    """The scenes to learn from, and others to be scored on."""
    from ..datasets.world.pretext import write_pretext

    data = write_pretext(out / name, episodes=episodes, seed=seed, workers=2, draw=draw, progress=progress)
    other = out / f"held-out-{name}"
    return data, write_pretext(other, episodes=HELD_OUT, seed=7777, workers=2, draw=draw, progress=progress)
