"""Reads a store in a process where unpickling ends at once, and says what it loaded that could unpickle.

python unpickling.py STORE
"""

import pickle
import sys

import numpy as np

FORBIDDEN = ("numcodecs.pickles", "zarr", "shelve", "dill", "joblib", "torch")


def refuse(*_, **__):
    raise SystemExit("something was unpickled")


def main(path):
    from visual_thought.pipeline.store import FeatureStore
    from visual_thought.pipeline.store.listing import summarise

    pickle.load = pickle.loads = pickle.Unpickler = refuse
    store = FeatureStore.open(path)
    summarise(store)
    for key in store.features():
        with store.reader(key, verify="always") as reader:
            out = np.empty((reader.num_rows, *reader.spec.stored_shape), reader.dtype)
            reader.read_into(np.arange(reader.num_rows), out)
    print("read", *(name for name in FORBIDDEN if name in sys.modules))


if __name__ == "__main__":
    main(sys.argv[1])
