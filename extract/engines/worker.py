"""One job in a process that dies with its parent: ``python -m visual_thought.extract.engines.worker FOLDER PARENT``."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from .job import run_folder

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the job of a folder."""
    folder, parent = sys.argv[1:]
    die_with(int(parent))
    return run_folder(Path(folder))


def die_with(parent: int) -> None:
    """Have the system kill this process when its parent ends; what it would have left, the next run makes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
