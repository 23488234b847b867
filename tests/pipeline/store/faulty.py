"""A process in which the k-th operation on a file fails, for every k; prints how many there are.

    python faulty.py WAY STORE FORMAT FAULT…

FAULT is what happens at that operation:

    eio             it fails with that error
    full            it and all later ones but unlink fail with ENOSPC
    lost            it is done, and then fails with EIO, as over a network that lost the reply
    exit            the process ends there

WAY is how files get their final names: ``link``, or ``rename`` where links are not allowed.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from crashes import check, committed, fork, status
from toys import a_spec, some_frames, some_values

from visual_thought.pipeline.errors import MachineError, VisualThoughtError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.system import SYSTEM

ROWS = 5
DEAD = 9
CODES = {"full": errno.ENOSPC, "eio": errno.EIO, "lost": errno.EIO}


class Faults:
    """Counts the operations of a commit and spoils the k-th; ``k`` = 0 spoils none."""

    def __init__(self, root: str, way: str) -> None:
        self.fault, self.root, self.k, self.seen, self.names = "none", root, 0, 0, set()
        os.open, os.mkdir = self.below_root("open", os.open), self.below_root("mkdir", os.mkdir)
        for name in ("write", "fsync", "unlink", "rename_no_replace", "link"):
            call = getattr(SYSTEM, name) if (name, way) != ("link", "rename") else not_allowed
            object.__setattr__(SYSTEM, name, self.spoilt(name, call))

    def below_root(self, name: str, call: Callable) -> Callable:
        spoilt = self.spoilt(name, call)

        def either(path, *rest, **options):
            return (spoilt if str(path).startswith(self.root) else call)(path, *rest, **options)

        return either

    def spoilt(self, name: str, call: Callable) -> Callable:
        def spoilt_call(*arguments, **options):
            self.seen, self.names = self.seen + 1, self.names | {name}
            late = self.fault == "full" and self.k and self.seen > self.k and name != "unlink"
            if self.seen != self.k and not late:
                return call(*arguments, **options)
            if self.fault == "exit":
                os._exit(DEAD)
            if self.fault == "lost":
                done = call(*arguments, **options)
                if name == "open":
                    os.close(done)
            raise OSError(CODES[self.fault], os.strerror(CODES[self.fault]))

        return spoilt_call

    def begin(self, fault: str, k: int) -> None:
        self.fault, self.k, self.seen = fault, k, 0


def not_allowed(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


def write(path, store_format):
    """All that an extraction writes: schema, index, claim, metadata, part, frames, receipt."""
    store, spec = FeatureStore.create(path), a_spec()
    frames = pa.table({"pts_s": [0.1 * row for row in range(ROWS)], "pixels_sha256": ["0" * 64] * ROWS})
    for plan in plan_array(store, spec, some_frames(ROWS), store_format=store_format):
        for part in plan.missing:
            commit_part(store, plan, part, some_values(spec, ROWS), frames=frames)


def failure_of(path, store_format):
    """What the writer says when one of its operations fails; None if it came through."""
    try:
        write(path, store_format)
    except VisualThoughtError as error:
        return error
    return None


def fails_well(path, store_format, fault, expected):
    error = failure_of(path, store_format)
    if error is None:
        assert committed(path) == expected
        return
    left = [file.name for file in Path(path).rglob(".*")]
    assert not left, f"{left} after {error}"
    if fault == "full" and isinstance(error, MachineError):
        assert "bytes free" in str(error)
        assert str(error.expected).endswith("bytes"), str(error)


def try_all(faults, fault, root, store_format):
    """Put ``fault`` at the k-th operation of a writer for every k; returns how many there are."""
    write(f"{root}-undisturbed", store_format)
    expected, k, more = committed(f"{root}-undisturbed"), 0, True
    while more:
        k, path = k + 1, f"{root}-{k + 1}"
        faults.begin(fault, k)
        if fault == "exit":
            more = status(fork(lambda own=path: write(own, store_format))) == DEAD
        else:
            fails_well(path, store_format, fault, expected)
            more = faults.seen >= k
        faults.begin("none", 0)
        assert committed(path).items() <= expected.items(), "neither the old state nor the new one"
        check(path)
        write(path, store_format)
        assert committed(path) == expected, f"the next run did not finish after {fault} at operation {k}"
    return k - 1


def main(way, root, store_format, *chosen):
    faults = Faults(root, way)
    for fault in chosen:
        print(try_all(faults, fault, f"{root}-{fault}", store_format))
    expected = {"open", "write", "fsync", "link", "unlink", "mkdir"} | (
        {"rename_no_replace"} if way == "rename" else set()
    )
    assert expected <= faults.names


if __name__ == "__main__":
    main(*sys.argv[1:])
