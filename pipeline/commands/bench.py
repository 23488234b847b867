"""``vtt bench``: measurements on this machine, as ratios inside one interleaved run."""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonFlag, answer

app = typer.Typer(help="Measure on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure on this machine."""


@app.command()
def startup(
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.")] = 7,
    as_json: JsonFlag = False,
) -> None:
    """Seconds until `vtt --help` is there, beside a bare Python start."""
    contenders = {
        "python": [sys.executable, "-c", "pass"],
        "vtt --help": [sys.executable, "-c", "from visual_thought.pipeline.cli import main; main()", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    lines = [
        f"{name:<12}{value:6.3f} s  [{min(seconds[name]):.3f}–{max(seconds[name]):.3f}]"
        for name, value in medians.items()
    ]
    answer({"median_s": medians, "rounds": rounds}, "\n".join(lines), as_json)


@app.command("store")
def bench_the_store(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Measure the disk this folder is on (default: here).")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of each simulated feature.")] = 512,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of each case.")] = 5,
    as_json: JsonFlag = False,
) -> None:
    """Our reader and writer beside a plain .npy file, zarr-python, h5py and other libraries, on your own disk."""
    from ...evaluate.bench.run import bench_store

    found = bench_store(folder or Path.cwd(), rows=rows, rounds=rounds, quiet=as_json)
    answer(found.to_json(), found.render(), as_json)


@app.command("extract")
def bench_the_extraction(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Measure with stores below this folder (default: here).")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Only the tiny X-VLA.")] = False,
    full_size: Annotated[bool, typer.Option("--full-size", help="Only the full-size X-VLA.")] = False,
    frames: Annotated[int | None, typer.Option(help="Frames a run.", show_default="320 tiny, 32 full-size")] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of each case.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Frames a batch.")] = 16,
    as_json: JsonFlag = False,
) -> None:
    """Wall time of the whole extraction beside the bare forward pass, each stage alone, and the naive loop."""
    from ...evaluate.bench.extract_run import SIZES, bench_extract

    sizes = list(SIZES) if tiny == full_size else [size for size in SIZES if (size == "tiny") == tiny]
    found = bench_extract(
        folder or Path.cwd(), sizes=sizes, frames=frames, rounds=rounds, batch_size=batch_size, quiet=as_json
    )
    answer(found.to_json(), found.render(), as_json)


@app.command("sweep")
def bench_the_sweep(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Measure with stores below this folder (default: here).")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of each case.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps a round.")] = 4,
    full_size: Annotated[bool, typer.Option(help="Also share the reading of full-size features.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Eight heads of one shape as one and in turn beside one head; what heads of different shape save by one pass."""
    from ...evaluate.bench.sweep import Effort, bench_sweep

    found = bench_sweep(folder or Path.cwd(), Effort(rounds, steps), full_size=full_size, quiet=as_json)
    answer(found.to_json(), found.render(), as_json)


@app.command("train")
def bench_the_training(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Measure with a store below this folder (default: here).")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="The tiny X-VLA and head, which takes seconds.")] = False,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="The full-size X-VLA and head, which takes minutes (default).")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of each case.")] = 3,
    as_json: JsonFlag = False,
) -> None:
    """Steps of a head from the store beside memory and zarr-python, and an epoch beside the backbone in the loop."""
    from ...evaluate.bench.training_run import SIZES, bench_train

    chosen = {"tiny": tiny, "full-size": full_size or not tiny}
    found = bench_train(
        folder or Path.cwd(), sizes=[size for size in SIZES if chosen[size]], rounds=rounds, quiet=as_json
    )
    answer(found.to_json(), found.render(), as_json)


@app.command("eval")
def bench_the_evaluation(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Measure with a store below this folder (default: here).")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Features and head of the embedded world, in seconds.")] = False,
    queries: Annotated[int, typer.Option(help="Queries of the test split; 10,000 take 4 GB of simulated features.")] = (
        10_000
    ),
    as_json: JsonFlag = False,
) -> None:
    """The whole of `vtt eval` on simulated features: a grounding head of the paper's size, in bf16 on the CPU."""
    from ...evaluate.bench.evaluation import bench_eval

    found = bench_eval(folder or Path.cwd(), size="tiny" if tiny else "full-size", queries=queries, quiet=as_json)
    answer(found.to_json(), found.render(), as_json)
