"""A process that may open few files reads all rows with several readers at once; prints how many it had open.

python many_files.py STORE LIMIT READERS
"""

import json
import os
import resource
import sys
from contextlib import ExitStack

import numpy as np

if __package__:
    from .reads import read
    from .toys import some_values
else:
    from reads import read
    from toys import some_values

from visual_thought.pipeline.store import FeatureStore


def open_files():
    return len(os.listdir("/proc/self/fd"))


def main(path, limit, readers):
    store, wrong, rng = FeatureStore.open(path), 0, np.random.default_rng(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    before = open_files()
    with ExitStack() as stack:
        opened = [stack.enter_context(store.reader("z")) for _ in range(readers)]
        for reader in opened:
            values = some_values(reader.spec, reader.num_rows)
            for _ in range(3):  # from the files, then from what is mapped
                rows = rng.permutation(reader.num_rows)
                wrong += int((read(reader, rows) != values[rows]).sum())
        most = open_files()
    del opened, reader  # what was mapped goes with its reader
    print(json.dumps({"before": before, "most": most, "after": open_files(), "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
