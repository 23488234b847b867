"""``vtt``: builds configs, calls the stages, prints what they return.

Nothing heavy is imported before a command needs it: ``vtt --help`` loads neither torch, transformers, lerobot nor
zarr. Results go to stdout, everything else to stderr. Exit codes: see :mod:`.errors`.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from .commands import bench, demo, doctor, evaluate, predict, push, stages, store, sweep, tables, weights, world
from .commands.options import show_warnings
from .errors import MachineError, VisualThoughtError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

app = typer.Typer(
    name="vtt",
    help="What does a frozen vision-language-action model already know? Extract its features once, train small heads "
    "from the cache, evaluate them with controls.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
demo.register(app)
stages.register(app)
evaluate.register(app)
sweep.register(app)
tables.register(app)
predict.register(app)
push.register(app)
doctor.register(app)
app.add_typer(world.app, name="world")
app.add_typer(store.app, name="store")
app.add_typer(weights.app, name="weights")
app.add_typer(bench.app, name="bench")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line in this process and return its exit code; nothing but a bug raises."""
    show_warnings()
    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="vtt")
    except SystemExit as stop:  # how typer ends every command, usage errors (2) included
        return stop.code if isinstance(stop.code, int) else 1
    except VisualThoughtError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"error: the disk is full\n  found:    {error}\n  to do:    free space, re-run", file=sys.stderr)
        return MachineError.exit_code
    return 0


def main() -> None:
    """The console script: set what must be set before libraries load, run, exit."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve each other on a busy machine
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder's banner
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # actors run this environment, not a copy of a folder
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        code = run()
    except Exception:
        traceback.print_exc()
        print("this is a bug in vtt: please report it with the lines above", file=sys.stderr)
        code = 1
    sys.exit(code)
