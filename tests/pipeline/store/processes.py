"""Python in other processes: for forks, for limits, for what must not be imported."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def run(script, *arguments, timeout=None):
    """The standard output of a script that stands beside the tests; its standard error if it fails."""
    command = [sys.executable, "-W", "error", str(HERE / script), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | ONE_THREAD, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def run_crashes(mode, path, store_format, *numbers):
    return list(map(int, run("crashes.py", mode, path, store_format, *numbers).split()))
