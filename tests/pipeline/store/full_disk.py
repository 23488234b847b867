"""A process whose disk is full; prints the exit code of the error, bytes needed and bytes free.

    python full_disk.py limit STORE FORMAT    no file may be longer than 512 kB
    python full_disk.py fill STORE FORMAT     the store lies on a disk of a few megabytes

It writes part after part until one has no room, as a writer does that is told so.
"""

import re
import resource
import signal
import sys

if __package__:
    from .toys import a_spec, some_frames, some_values
else:
    from toys import a_spec, some_frames, some_values

from visual_thought.pipeline.errors import MachineError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

ROWS = 8 * 128
SPEC = a_spec(shape=(64, 64))  # a part is a megabyte
LIMIT = 1 << 19


def write(path, store_format, parts=None):
    store = FeatureStore.create(path)
    values = some_values(SPEC, ROWS)
    (plan,) = plan_array(store, SPEC, some_frames(ROWS), store_format=store_format)
    for part in plan.missing if parts is None else parts:
        rows = plan.part_range(part)
        commit_part(store, plan, part, values[rows.start : rows.stop])


def main(mode, path, store_format):
    if mode == "limit":
        write(path, store_format, [3])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    try:
        write(path, store_format)
    except MachineError as error:
        needed, free = re.match(r"(\d+) bytes", error.expected), re.match(r"(\d+) bytes free", error.found)
        print(error.exit_code, needed.group(1), free.group(1))


if __name__ == "__main__":
    main(*sys.argv[1:])
