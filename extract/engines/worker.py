"""One job in a process that dies with its parent: ``python -m visual_thought.extract.engines.worker FOLDER PARENT``."""

import sys
from pathlib import Path

from ...pipeline.processes import die_with
from .job import run_folder


def main() -> int:
    """Run the job of a folder."""
    folder, parent = sys.argv[1:]
    die_with(int(parent))
    return run_folder(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
