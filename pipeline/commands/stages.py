"""``vtt extract`` and ``vtt train``: the stages that make things."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError, VisualThoughtError
from .options import JsonFlag, answer, hash_cache, lerobot_home, named, store_place
from .push import Private, PushTo

if TYPE_CHECKING:
    from ...train.checkpoint import Checkpoint

OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add both stages to the command line."""
    app.command("extract")(extract)
    app.command("train", context_settings=OVERRIDES)(train)


def extract(
    manifest: Annotated[str, typer.Argument(help="A data manifest: a YAML file, or the name of a shipped one.")],
    store: Annotated[str, typer.Option(help="The feature store, a folder or a URL; made if it is not there.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="[KIND=]CHECKPOINT[?option=value&…], a directory or a Hub id; may be given several times: one pass "
            "over the videos feeds all of them. Without KIND an X-VLA.",
            show_default="lerobot/xvla-base",
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub checkpoint.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Features to extract, comma-separated.", show_default="all of the backbones")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    dtype: Annotated[str, typer.Option(help="Compute and storage type: bf16 or fp32.")] = "bf16",
    store_format: Annotated[str, typer.Option(help="Format of new arrays: zarr or hdf5.")] = "zarr",
    batch_size: Annotated[str, typer.Option(help="Frames a batch, or auto: the fastest on the first frames.")] = "16",
    decode_threads: Annotated[int | None, typer.Option(help="Episodes decoded at once.", show_default="auto")] = None,
    compile_it: Annotated[bool, typer.Option("--compile", help="Run the backbones through torch.compile.")] = False,
    stall_timeout: Annotated[
        float, typer.Option(help="Seconds without progress in decoding or writing that end the extraction.")
    ] = 300.0,
    part: Annotated[str | None, typer.Option(help="Only part i/N of the work: 1/4, 2/4, … in any order.")] = None,
    engine: Annotated[str, typer.Option(help="Where workers run: local, slurm or ray.")] = "local",
    workers: Annotated[int, typer.Option(help="Workers at once, each with a share of the work.")] = 1,
    worker_threads: Annotated[int | None, typer.Option(help="Threads a worker; default: as one process.")] = None,
    worker_stall: Annotated[float, typer.Option(help="Seconds until an idle worker is replaced.")] = 900.0,
    slurm: Annotated[
        list[str] | None, typer.Option(help="For --engine slurm: partition=gpu, timeout_min=240, gpus_per_node=1, …")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="A damaged frame: stop, or skip-episode (the store says which; train refuses it).")
    ] = "stop",
    nan: Annotated[
        str, typer.Option(help="A feature that is NaN or infinite: stop, or record (train refuses it).")
    ] = "stop",
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be done, load no weights.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --plan: load the weights, run a few batches, estimate the time.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run frozen backbones once over a LeRobot dataset and store their features; resumes, and extracts only what is
    missing.
    """
    from ...extract.config import ExtractConfig
    from ...extract.engines.config import EngineConfig
    from ...extract.share import parse_share
    from ..config import build

    if measure and not plan:
        raise ConfigError("--measure belongs to --plan", remedy="add --plan")
    values = {
        "manifest": manifest,
        "part": None if part is None else parse_share(part),
        "store": store_place(store),
        "backbones": _backbones(backbone or ["lerobot/xvla-base"], revision),
        "features": None if features is None else list(named(features)),
        "device": device,
        "dtype": dtype,
        "store_format": store_format,
        "batch_size": int(batch_size) if batch_size.isdecimal() else batch_size,
        "decode_threads": decode_threads,
        "compile": compile_it,
        "stall_timeout_s": stall_timeout,
        "on_error": on_error,
        "nan": nan,
        "hash_cache": str(hash_cache()),
        "lerobot_home": str(lerobot_home()) if lerobot_home() else None,
        "progress": not as_json,
    }
    config = build(ExtractConfig, values, source="vtt extract")
    spread = EngineConfig(engine, workers, threads=worker_threads, stall_s=worker_stall, options=_pairs(slurm or []))
    if plan:
        from ...extract.measure import measure as measure_plan
        from ...extract.plan import plan as make_plan
        from ...extract.plan_text import plan_json, render

        planned = make_plan(config)
        estimate = measure_plan(planned) if measure else None
        answer(plan_json(planned, estimate), render(planned, estimate), as_json)
        return
    from ...extract.engines.run import extract_with

    done = extract_with(config, spread)
    answer(done.to_json(), done.render(), as_json)


def _backbones(words: list[str], revision: str | None) -> list[Any]:
    """The backbones of a command line as plain data."""
    from ...extract.naming import parse_backbone
    from ..config import to_plain

    found = [to_plain(parse_backbone(word)) for word in words]
    if revision is not None and len(found) > 1:
        raise ConfigError("--revision belongs to one backbone", remedy="write it as CHECKPOINT?revision=…")
    return [one | {"revision": one["revision"] or revision} for one in found]


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
    allow_nan: Annotated[
        bool, typer.Option("--allow-nan", help="Train without the rows that are NaN or infinite.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    push_to_hub: PushTo = None,
    private: Private = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push-to-hub: train, then only print what would be uploaded.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a head and its controls from cached features; never loads a backbone. LeRobot's habit works too:
    --decoder.dim=256.
    """
    from ...train.config import build_config
    from ...train.processes import leads
    from ...train.run import train as run_train

    _refuse_push(push_to_hub, private=private, dry_run=dry_run)
    changes = [*(overrides or []), *_dotted(context.args)]
    if as_json:
        changes.append("progress=false")
    if allow_partial:
        changes.append("loader.allow_partial=true")
    if allow_skipped:
        changes.append("loader.allow_skipped=true")
    if allow_nan:
        changes.append("loader.allow_nan=true")
    config = build_config(recipe, changes, store=store_place(store), manifest=manifest, out=out, resume=resume)
    done = run_train(config)
    if not leads():  # of several processes, one answers
        return
    if push_to_hub is None:
        answer(done.to_json(), done.render(), as_json)
        return
    _answer_and_push(done, push_to_hub, private=private, dry_run=dry_run, as_json=as_json)


def _refuse_push(repo: str | None, *, private: bool, dry_run: bool) -> None:
    """What is wrong with a push is said before hours of training."""
    from ...train.share import refuse_repo_name

    if repo is not None:
        refuse_repo_name(repo)
    elif private or dry_run:
        raise ConfigError("--private and --dry-run belong to --push-to-hub", remedy="add --push-to-hub OWNER/NAME")


def _answer_and_push(done: "Checkpoint", repo: str, *, private: bool, dry_run: bool, as_json: bool) -> None:
    """Print what the training came to whether or not the upload succeeds."""
    from ...train.share import push

    try:
        pushed = push(done.run_dir, repo, private=private, dry_run=dry_run)
    except VisualThoughtError as error:
        answer(done.to_json() | {"push": {"error": str(error)}}, done.render(), as_json)
        raise
    answer(done.to_json() | {"push": pushed.to_json()}, f"{done.render()}\n{pushed.render()}", as_json)


def _pairs(texts: list[str]) -> dict[str, str]:
    """``name=value`` texts as a mapping."""
    for text in texts:
        if "=" not in text.strip("="):
            raise ConfigError("an option of the engine cannot be read", found=text, expected="name=value")
    return dict(text.split("=", 1) for text in texts)


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
