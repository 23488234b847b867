"""``vtt predict``: what a run says about a picture, or about every frame of an episode."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from . import bench
from .options import JsonFlag, answer, hash_cache, lerobot_home, store_place

LIVE = "live backbone"


def register(app: typer.Typer) -> None:
    """Add ``vtt predict`` and ``vtt bench predict``."""
    app.command("predict")(predict)
    bench.app.command("predict")(bench_the_prediction)


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or one of its checkpoints.")],
    instruction: Annotated[
        str | None, typer.Argument(help="What is asked. Of an episode, default: each frame's own task.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Ask about this picture; backbone and head run now.")] = None,
    save: Annotated[Path | None, typer.Option(help="With --image: draw the answer into this .png.")] = None,
    episode: Annotated[int | None, typer.Option(help="Ask about every frame of this episode.")] = None,
    camera: Annotated[str | None, typer.Option(help="Its camera.", show_default="the manifest's first")] = None,
    out: Annotated[Path | None, typer.Option(help="Draw the answers into this .mp4, at the dataset's rate.")] = None,
    rerun: Annotated[
        Path | None, typer.Option(help="Log the answers into this .rrd for the Rerun viewer (needs rerun-sdk).")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Of an episode: run the backbone on its frames instead of reading the store.")
    ] = False,
    backbone: Annotated[
        list[str] | None, typer.Option(help="KIND=CHECKPOINT: where the backbone's weights are, if they moved.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    store: Annotated[str | None, typer.Option(help="The feature store, if it moved: a folder or a URL.")] = None,
    manifest: Annotated[str | None, typer.Option(help="The data manifest, if it moved.")] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder, if it moved.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Point at what an instruction is about: in a picture, live, or in every frame of an episode, as a video."""
    if (image is None) == (episode is None):
        raise ConfigError("nothing to look at, or two things", expected="either --image FILE or --episode N")
    if image is not None:
        _refuse_others("--image", {"--camera": camera, "--out": out, "--rerun": rerun, "--live": live or None})
        done = _of_picture(run, image, instruction, save, backbone or [], checkpoint, device)
    else:
        assert episode is not None
        _refuse_others("--episode", {"--save": save})
        places = {"manifest": manifest, "root": root}
        scene = {"episode": episode, "camera": camera, "instruction": instruction, **places}
        files = {"out": out, "rerun": rerun}
        if not live:
            _refuse_others("--live", {"--backbone": backbone}, missing=True)
        done = _of_episode(run, scene, files, store, backbone if live else None, live, checkpoint, device)
    answer(done.to_json(), done.render(), as_json)


def bench_the_prediction(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Make the random weights below this folder (default: here).")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="The tiny X-VLA and head, which takes seconds.")] = False,
    rounds: Annotated[int, typer.Option(help="Predictions measured, after one to warm up.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Latency of one picture and instruction by stage: an X-VLA of the published size with random weights."""
    from ...evaluate.live.bench import bench_predict

    found = bench_predict(folder or Path.cwd(), tiny=tiny, rounds=rounds, device=device)
    answer(found.to_json(), found.render(), as_json)


def _of_picture(
    run: Path,
    image: Path,
    instruction: str | None,
    save: Path | None,
    backbones: list[str],
    checkpoint: str,
    device: str,
) -> Any:
    from ...evaluate.live.backbones import Caches
    from ...evaluate.live.picture import check_request, open_run_live, predict_picture
    from ...train.loaded import load_run
    from ...train.run import pick_device

    if instruction is None:
        raise ConfigError("--image needs an instruction", remedy="write it behind the run: vtt predict RUN --image F …")
    check_request(image, instruction, save)
    loaded = load_run(run, checkpoint, device=str(pick_device(device)))
    start = time.perf_counter()
    live = open_run_live(loaded, given=backbones, caches=Caches(hash_cache()))
    load_s = time.perf_counter() - start
    return predict_picture(loaded, image, instruction, live=live, load_s=load_s, save=save)


def _of_episode(
    run: Path,
    scene: dict[str, Any],
    files: dict[str, Path | None],
    store: str | None,
    backbones: list[str] | None,
    live: bool,
    checkpoint: str,
    device: str,
) -> Any:
    from ...evaluate.live.answered import predict_episode, refuse_outputs
    from ...evaluate.live.backbones import Caches
    from ...evaluate.live.episode import open_scene
    from ...evaluate.live.picture import open_run_live
    from ...evaluate.live.pointing import require_grounding
    from ...train.loaded import load_run
    from ...train.run import pick_device

    refuse_outputs(**files)
    loaded = load_run(run, checkpoint, device=str(pick_device(device)))
    require_grounding(loaded)
    opened = open_scene(loaded.record, **scene, lerobot_home=lerobot_home(), hash_cache=hash_cache())
    if not live:
        return predict_episode(loaded, opened, store_place(store or loaded.record.store), **files)
    caches = Caches(hash_cache())
    backbone = open_run_live(loaded, given=backbones or [], caches=caches, frame_size=opened.size)
    return predict_episode(loaded, opened, backbone, **files)


def _refuse_others(option: str, given: dict[str, Any], *, missing: bool = False) -> None:
    """ConfigError for options that belong elsewhere."""
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        does = f"belongs to {option}" if missing else f"does not go with {option}"
        raise ConfigError(f"{extra[0]} {does}", remedy=f"add {option}" if missing else f"leave {extra[0]} out")
