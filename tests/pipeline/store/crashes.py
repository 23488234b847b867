"""A process that forks writers and kills them, because a process with threads should not fork.

    python crashes.py kill STORE FORMAT ROWS COUNT    pairs of racing writers, COUNT of them killed after a random time
    python crashes.py race STORE FORMAT ROWS COUNT    COUNT writers of different numbers at once
    python crashes.py claim STORE FORMAT ROWS COUNT   COUNT pairs, one of each format, at once; each pair a new store

After every death all receipts that can be seen must describe whole files, and none may have gone or changed.
"""

import hashlib
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from toys import a_spec, files_below, some_frames, some_values

from visual_thought.pipeline.errors import StoreMismatch
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.format import FORMATS, load_format
from visual_thought.pipeline.store.layout import PART_ROWS, part_count
from visual_thought.pipeline.store.receipt import read_receipt

MISMATCH = 4


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
        except StoreMismatch:
            os._exit(MISMATCH)
        except BaseException as error:
            print(f"a writer failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
            assert part not in found, f"part {part} is there twice"
            found[part] = receipt.sha256
    return found


def committed(path):
    """Every file that is not temporary, with its sha256."""
    return {name: digest for name, digest in files_below(path).items() if not name.split("/")[-1].startswith(".")}


def undisturbed(path, store_format, rows):
    """Seconds a writer takes that nobody kills."""
    began = time.monotonic()
    assert status(fork(partial(write, path, store_format, rows))) == 0
    return time.monotonic() - began


def kill(path, store_format, rows, count):
    """Prints the number of deaths, of stores that were finished in spite of them, and of parts lost or changed."""
    longest = min(undisturbed(f"{path}-undisturbed{trial}", store_format, rows) for trial in ("", 1, 2))
    expected, wanted = committed(f"{path}-undisturbed"), set(check(f"{path}-undisturbed"))
    root, deaths, finished, lost, known, waits = path, 0, 0, 0, {}, random.Random(0)
    while deaths < count:
        pair = [fork(partial(write, path, store_format, rows)) for _ in range(2)]
        time.sleep(waits.uniform(0.05, 1) * longest)
        os.kill(pair[0], signal.SIGKILL)
        time.sleep(waits.choice([0, 0, 0.001]))
        os.kill(pair[1], signal.SIGKILL)
        ends = [status(child) for child in pair]
        assert set(ends) <= {0, -signal.SIGKILL}, ends
        deaths += ends.count(-signal.SIGKILL)
        now = check(path)
        lost += len(known.items() - now.items())
        known = now
        if known.keys() == wanted or deaths >= min(count, 40 * (finished + 1)):
            write(path, store_format, rows)  # nothing to do if it is finished
            assert committed(path) == expected, "the store is not what an undisturbed writer makes"
            finished, known = finished + 1, {}
            path = f"{root}-{finished}"
    print(deaths, finished, lost)


def race(path, store_format, rows, count):
    children = [fork(partial(write, path, store_format, rows, seed)) for seed in range(count)]
    assert [status(child) for child in children] == [0] * count
    print(len(check(path)))


def claim(path, _, rows, count):
    """Prints how many pairs made one array: the slower writer is told, or comes late enough to join the faster."""
    names, one = sorted(FORMATS), 0
    for number in range(count):
        own = f"{path}-{number}"
        FeatureStore.create(own)
        ends = [status(child) for child in [fork(partial(write, own, name, rows)) for name in names]]
        assert 0 in ends, ends
        assert set(ends) <= {0, MISMATCH}, ends
        assert len(check(own)) == part_count(rows, PART_ROWS), "the winner did not finish"
        (array,) = FeatureStore.open(own).arrays()
        one += MISMATCH not in ends or names[ends.index(0)] == array.format_name
    print(one)


if __name__ == "__main__":
    mode, store_path, form, *numbers = sys.argv[1:]
    for name in FORMATS:
        load_format(name)  # imported once, not in every writer
    some_frames(1)
    {"kill": kill, "race": race, "claim": claim}[mode](store_path, form, *map(int, numbers))
