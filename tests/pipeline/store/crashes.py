"""A process that forks writers and kills them; run by test_faults.py, because a process with threads should not fork.

    python crashes.py kill STORE FORMAT ROWS COUNT    COUNT writers, each killed after a random time
    python crashes.py die STORE FORMAT ROWS           a writer that exits at its k-th file operation, for every k
    python crashes.py race STORE FORMAT ROWS COUNT    COUNT writers of different numbers at once

Every mode checks after every death that all receipts that can be seen describe whole files, and prints a summary.
"""

import hashlib
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from toys import a_spec, some_frames, some_values

from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.format import load_format
from visual_thought.pipeline.store.receipt import read_receipt

OPERATIONS = {"open", "os.mkdir", "os.link", "os.remove", "os.rename"}


def write(path, store_format, rows, seed=0):
    """What an extraction does: plan, then commit what is missing."""
    store, spec = FeatureStore.create(path), a_spec()
    values = some_values(spec, rows, seed=seed)
    for plan in plan_array(store, spec, some_frames(rows), store_format=store_format):
        for part in plan.missing:
            where = plan.part_range(part)
            commit_part(store, plan, part, values[where.start : where.stop])


def fork(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"a writer failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def finish(path, store_format, rows):
    assert os.waitpid(fork(partial(write, path, store_format, rows)), 0)[1] == 0


def check(path):
    """Prove every receipt there is; returns {part: sha256}."""
    if not (Path(path) / "vtt.json").exists():
        return {}
    store, found = FeatureStore.open(path), {}
    for array in store.arrays():
        for part in array.finished_parts():
            receipt = read_receipt(store.path, array.receipt_path(part))
            data = array.part_path(part).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (receipt.bytes, receipt.sha256), (part, receipt)
            array.format.decode(array.meta, receipt.rows, data)
            found[part] = receipt.sha256
    return found


def kill(path, store_format, rows, count):
    deaths, known, waits = 0, {}, random.Random(0)
    while deaths < count:
        child = fork(partial(write, path, store_format, rows))
        time.sleep(waits.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        deaths += os.waitpid(child, 0)[1] == signal.SIGKILL
        now = check(path)
        assert known.items() <= now.items(), "a part was lost or changed"
        known = now
        if len(known) == -(-rows // 128):  # finished: start over in a new store
            path, known = path + "+", {}
    finish(path, store_format, rows)
    print(deaths, len(check(path)))


def die(path, store_format, rows):
    """Exit at the k-th operation on a path inside the store, for k = 1, 2, … until a writer comes through."""
    for deadly in range(1, 1000):
        own = f"{path}-{deadly}"
        status = os.waitstatus_to_exitcode(os.waitpid(fork(partial(die_at, deadly, own, store_format, rows)), 0)[1])
        check(own)
        if status == 0:
            print(deadly)
            return
        assert status == 9, status
        finish(own, store_format, rows)
        assert len(check(own)) == -(-rows // 128)


def die_at(deadly, path, store_format, rows):
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event in OPERATIONS and str(arguments[0]).startswith(path):
            seen += 1
            if seen == deadly:
                os._exit(9)

    sys.addaudithook(hook)
    write(path, store_format, rows)


def race(path, store_format, rows, count):
    children = [fork(partial(write, path, store_format, rows, seed)) for seed in range(count)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
    print(len(check(path)))


if __name__ == "__main__":
    mode, store_path, form, *numbers = sys.argv[1:]
    load_format(form), some_frames(1)  # import what they import once, not in every writer
    {"kill": kill, "die": die, "race": race}[mode](store_path, form, *map(int, numbers))
