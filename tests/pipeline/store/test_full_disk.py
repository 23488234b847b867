"""A full disk: said with what is needed and what is free, and the same work goes on once there is room."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from visual_thought.pipeline.store import FeatureStore, plan_array

from .full_disk import ROWS, SPEC, write
from .lanes import FORMATS_IN_TURN
from .processes import run
from .toys import files_below, read_all, some_frames, some_values

PART = 128 * SPEC.row_bytes


@contextmanager
def small_disk(path):
    """A file system of 8 MB; skips where mounting is not allowed."""
    path.mkdir()
    if os.geteuid() or not sys.platform.startswith("linux"):
        pytest.skip("only root can mount a small disk")
    options = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(path)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def full(mode, path, store_format):
    """What the process whose disk filled up said: exit code, bytes needed, bytes free."""
    return list(map(int, run("full_disk.py", mode, path, store_format).split()))


def prove_and_finish(path, store_format, least):
    """Parts that were committed before the disk was full read well, nothing else stayed, and the rest goes in."""
    store, values = FeatureStore.open(path), some_values(SPEC, ROWS)
    assert not list(Path(path).rglob(".*"))
    (plan,) = plan_array(store, SPEC, some_frames(ROWS))
    before = files_below(path)
    assert plan.num_parts - len(plan.missing) >= least
    for part in set(range(plan.num_parts)) - set(plan.missing):
        rows = plan.part_range(part)
        found = np.empty((len(rows), *SPEC.shape), np.uint16)
        with store.reader("z", allow_partial=True) as reader:
            reader.read_into(np.arange(rows.start, rows.stop), found)
        assert found.tobytes() == values[rows.start : rows.stop].tobytes()
    write(path, store_format)
    assert before.items() <= files_below(path).items()
    assert read_all(store).tobytes() == values.tobytes()


@pytest.mark.parametrize("store_format", FORMATS_IN_TURN)
def test_a_limit_on_file_size_is_said_as_a_full_disk(tmp_path, store_format):
    code, needed, free = full("limit", tmp_path / "store", store_format)
    assert (code, needed >= PART, free > 0) == (5, True, True)
    prove_and_finish(tmp_path / "store", store_format, 1)


@pytest.mark.parametrize("store_format", FORMATS_IN_TURN)
def test_a_disk_that_fills_up_loses_nothing_and_the_rest_goes_in_later(tmp_path, store_format):
    with small_disk(tmp_path / "disk") as disk:
        code, needed, free = full("fill", disk / "store", store_format)
        assert (code, needed >= PART) == (5, True)
        assert 0 <= free < 2 * PART
        shutil.copytree(disk / "store", tmp_path / "larger", copy_function=shutil.copy)
    prove_and_finish(tmp_path / "larger", store_format, 5)
