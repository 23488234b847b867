"""Tries every way into every store of a folder, with little memory; prints how each ended, as JSON.

    python hostile_doors.py FOLDER

Ends are ``fine``, the name of a VisualThoughtError, ``wrong numbers``, or ``bug: …`` for anything else.
"""

import json
import sys
import warnings
from importlib import import_module
from pathlib import Path

import h5py  # noqa: F401 - loaded before memory is limited
import numcodecs.blosc  # noqa: F401
import pyarrow.parquet  # noqa: F401
from limits import deadline, limit_memory, peak_memory
from toys import a_spec, fill, read_all, some_frames, some_values

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.pipeline.store import FeatureStore, plan_array
from visual_thought.pipeline.store.format import FORMATS, load_format
from visual_thought.pipeline.store.listing import summarise

ROWS = 150
VALUES = some_values(a_spec(), ROWS)


def read(path):
    store = FeatureStore.open(path)
    numbers = read_all(store)
    tables = [store.index_table(array.index_id) for array in store.arrays()]
    store.status("z")
    assert numbers.tobytes() == VALUES.tobytes()
    assert [table.num_rows for table in tables] == [ROWS]


def frames(path):
    assert FeatureStore.open(path).frames("z").num_rows == ROWS


def listing(path):
    summarise(FeatureStore.open(path)).render()


def plan(path):
    plan_array(FeatureStore.open(path), a_spec(), some_frames(ROWS + 1), dry=True)


def write(path):
    store = FeatureStore.create(path)
    for wanted in (a_spec(), a_spec("w")):
        fill(store, wanted, some_frames(ROWS), some_values(wanted, ROWS))


def maintenance(module, function, **options):
    """A way in through a module; None while there is no such module."""
    try:
        call = getattr(import_module(f"visual_thought.pipeline.store.{module}"), function)
    except ModuleNotFoundError:
        return None

    def use(path):
        found = call(path, **options)
        return "found" if getattr(found, "problems", ()) else None

    return use


DOORS = {
    "read": read,
    "frames": frames,
    "listing": listing,
    "plan": plan,
    "verify": maintenance("verify", "verify", full=True),
    "seal": maintenance("snapshot", "seal"),
    "collect": maintenance("collect", "collect", min_age_s=0.0, dry_run=True),
    "write": write,
    "repair": maintenance("repair", "repair"),
}


def end_of(door, path):
    try:
        with deadline(60):
            return door(path) or "fine"
    except VisualThoughtError as error:
        plain = str(error)
        shown = all(letter.isprintable() or letter == "\n" for letter in plain)
        return type(error).__name__ if shown and len(plain) < 30_000 else f"bug: it says {plain[:80]!r}"
    except AssertionError:
        return "wrong numbers"
    except BaseException as error:
        return f"bug: {error!r}"[:500]


def main(folder):
    for name in FORMATS:
        load_format(name)
    warnings.simplefilter("error")
    limit_memory()
    before, ends = peak_memory(), {}
    for path in sorted(Path(folder).iterdir()):
        print(path.name, file=sys.stderr, flush=True)
        ends[path.name] = {name: end_of(door, path) for name, door in DOORS.items() if door}
        ends[path.name]["bytes"], before = peak_memory() - before, peak_memory()
    print(json.dumps(ends))


if __name__ == "__main__":
    main(sys.argv[1])
