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

sys.path.insert(0, str(Path(__file__).parents[2]))
from spoiler import DEAD, Spoiler

from visual_thought.pipeline.errors import MachineError, VisualThoughtError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.system import SYSTEM

ROWS = 5


class Faults(Spoiler):
    """The operations of a commit; a full disk lets files go."""

    def __init__(self, root: str, way: str) -> None:
        super().__init__(root, always_works=("unlink",))
        os.open, os.mkdir = self.below_root("open", os.open), self.below_root("mkdir", os.mkdir)
        for name in ("write", "fsync", "unlink", "rename_no_replace", "link"):
            call = getattr(SYSTEM, name) if (name, way) != ("link", "rename") else not_allowed
            object.__setattr__(SYSTEM, name, self.spoilt(name, call))

    def below_root(self, name: str, call: Callable) -> Callable:
        spoilt = self.spoilt(name, call)

        def either(path, *rest, **options):
            return (spoilt if str(path).startswith(self.root) else call)(path, *rest, **options)

        return either


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
