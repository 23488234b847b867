"""``vtt demo``: the main job on the embedded world, by one command: world, extract, train, eval."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .options import JsonFlag, answer, hash_cache, say

if TYPE_CHECKING:
    from ...evaluate.report import Report, RunReport

NAMES = {"f025": "f_0_25", "pixel_error": "point_error_median_px"}  # the demo's names of evaluation's scores


@dataclass
class Clock:
    """Seconds by stage; the bars of the stages run on stderr."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str, what: str) -> Iterator[None]:
        """Say what begins, and add its wall time to the stage."""
        say(f"[{stage}] {what}")
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 2)


def register(app: typer.Typer) -> None:
    """Add the demo to the command line."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes; a second run reuses world and store.")] = Path(
        "vtt-demo"
    ),
    episodes: Annotated[int, typer.Option(help="Episodes of the world.")] = 40,
    frames: Annotated[int, typer.Option(help="Frames an episode.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    recipe: Annotated[str, typer.Option(help="Training recipe.")] = "ground-world",
    steps: Annotated[int | None, typer.Option(help="Training steps, if not the recipe's.")] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="First extract and train on the untrained backbone, as a control.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the SIMULATED cube world, extract Z and R, train the grounding head with its controls, evaluate it."""
    clock = Clock()
    size = {"episodes": episodes, "frames": frames}
    manifest = _world(out, size, clock, progress=not as_json)
    overrides = [f"seed={seed}", *([f"steps={steps}"] if steps else []), *(["progress=false"] if as_json else [])]
    twin = _study(out, manifest, recipe, overrides, Clock(), twin="random").runs[0].path if random_init else None
    report = _study(out, manifest, recipe, overrides, clock, control=twin)
    result = _result(out, manifest, report, clock)
    answer(result, _text(report, result), as_json)


def _world(out: Path, size: Mapping[str, int], clock: Clock, *, progress: bool) -> Path:
    """The data set and the checkpoint, made or reused; returns the manifest's path."""
    from ..datasets.world.checkpoints import write_checkpoint
    from ..datasets.world.cubes import NAME, CubesConfig, write_cubes

    manifest = out / "world" / f"{NAME}.yaml"
    if manifest.exists():
        _require_size(out / "world" / "dataset", size)
    with clock.time("world", "reusing the data set" if manifest.exists() else "drawing and encoding the SIMULATED set"):
        if not manifest.exists():
            write_cubes(CubesConfig(out=out / "world", **size, progress=progress))
        if not (out / "xvla" / "config.json").exists():
            write_checkpoint(out / "xvla")
    return manifest


def _study(
    out: Path,
    manifest: Path,
    recipe: str,
    overrides: list[str],
    clock: Clock,
    *,
    twin: str = "",
    control: Path | None = None,
) -> "Report":
    """Extract, train, evaluate; ``twin`` names another backbone's own store, run and report, ``control`` such a run."""
    from ...evaluate.config import EvalConfig
    from ...evaluate.run import evaluate
    from ...extract.config import ExtractConfig
    from ...extract.run import extract
    from ...train.config import build_config
    from ...train.run import train
    from ..datasets.world.checkpoints import write_checkpoint

    mark = f"-{twin}" if twin else ""
    backbone, store = out / f"xvla{mark}", out / f"store{mark}"
    if not (backbone / "config.json").exists():
        write_checkpoint(backbone, pretrained=False)
    quiet = "progress=false" in overrides
    with clock.time("extract", f"Z and R of every frame into {store}"):
        done = extract(
            ExtractConfig(manifest, store, checkpoint=str(backbone), hash_cache=hash_cache(), progress=not quiet)
        )
        say(done.render())
    run = _new_run(out / f"runs{mark}")
    with clock.time("train", f"the grounding head and its controls into {run}"):
        train(build_config(recipe, overrides, store=store, manifest=str(manifest), out=run))
    with clock.time("eval", "the test episodes"):
        return evaluate(EvalConfig((run,), run / "eval", random_init=control, hash_cache=hash_cache()))


def _result(out: Path, manifest: Path, report: "Report", clock: Clock) -> dict[str, Any]:
    """The one object that ``--json`` prints."""
    from ..datasets.world.checkpoints import describe
    from ..manifest import load_manifest

    run, data, xvla = report.runs[0], load_manifest(manifest), out / "xvla"
    scores = {contender.name: _scores(contender.scores.to_json()) for contender in run.contenders}
    return {
        "seconds": clock.seconds,
        "metrics": scores.pop(run.head.name),
        "controls": scores,
        "store": str(run.store),
        "run": str(run.path),
        "report": str(report.page),
        "figures": _figures(report, run),
        "dataset_repo_id": data.repo_id,
        "dataset_root": str(data.root),
        "manifest": str(manifest.absolute()),
        "xvla": str(xvla.absolute()),
        "tokenizer": str(xvla.absolute()),
        "simulated": True,
        **describe(xvla),
    }


def _scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluation's scores under the demo's names first, all others under their own."""
    short = {name: scores[source] for name, source in NAMES.items()}
    return short | {name: value for name, value in scores.items() if name not in NAMES.values()}


def _text(report: "Report", result: Mapping[str, Any]) -> str:
    from ...evaluate.tables import closing, terminal_table

    seconds = "  ".join(f"{stage} {value:.0f} s" for stage, value in result["seconds"].items())
    lines = [terminal_table(report), closing(report)]
    return "\n".join([*lines, f"run:    {result['run']}", f"store:  {result['store']}", f"time:   {seconds}"])


def _figures(report: "Report", run: "RunReport") -> list[str]:
    return [str(report.out / figure) for figure in run.figures]


def _new_run(folder: Path) -> Path:
    """The next free run folder: 000, 001, …"""
    taken = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
    return folder / f"{max(taken, default=-1) + 1:03d}"


def _require_size(root: Path, size: Mapping[str, int]) -> None:
    from ..datasets.info import read_info

    info = read_info(root)
    found = {"episodes": info.total_episodes, "frames": info.total_frames // info.total_episodes}
    if found != dict(size):
        raise ConfigError(
            f"{root.parent} holds a world of another size",
            found=found,
            expected=dict(size),
            remedy="choose another --out",
        )
