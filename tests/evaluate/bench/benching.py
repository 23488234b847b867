"""A process that benches small features for ever, to be ended by a signal.

    python benching.py FOLDER

Prints one line when KeyboardInterrupt has come through the bench.
"""

import sys
from pathlib import Path

from visual_thought.evaluate.bench.run import bench_store

if __name__ == "__main__":
    try:
        bench_store(Path(sys.argv[1]), rows=64, rounds=10**9, shapes={"z": (3, 4)}, batches=(8,), libraries=False)
    except KeyboardInterrupt:
        print("interrupted")
