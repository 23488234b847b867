"""Writers that die or race, in real processes."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from visual_thought.pipeline.errors import MachineError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

from .toys import FORMAT_NAMES, a_spec, files_below, filled_store, read_all, some_frames, some_values

ROWS = 3 * 128 + 5  # four parts


def run(mode, path, store_format, *numbers):
    command = [sys.executable, "-W", "error", Path(__file__).with_name("crashes.py"), mode, path, store_format]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    arguments = list(map(str, [*command, *numbers]))
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | one_thread, check=False)
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


def undisturbed(path, store_format):
    store, _ = filled_store(path, rows=ROWS, store_format=store_format)
    return store


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


def test_killed_writers_lose_nothing_and_the_next_one_finishes(tmp_path, store_format):
    deaths, parts = run("kill", tmp_path / "store", store_format, ROWS, 30)
    assert (deaths, parts) == (30, 4)
    last = max(tmp_path.iterdir(), key=lambda path: len(path.name))
    found = {name: digest for name, digest in files_below(last).items() if not name.split("/")[-1].startswith(".")}
    assert found == files_below(undisturbed(tmp_path / "other", store_format).path)


def test_dying_at_any_file_operation_leaves_the_old_or_the_new_state(tmp_path, store_format):
    (operations,) = run("die", tmp_path / "store", store_format, 5)
    assert operations > 30


def test_racing_processes_agree_on_every_part(tmp_path, store_format):
    (parts,) = run("race", tmp_path / "store", store_format, ROWS, 4)
    assert parts == 4
    found = read_all(FeatureStore.open(tmp_path / "store"))
    written = [some_values(a_spec(), ROWS, seed=seed) for seed in range(4)]
    for start in range(0, ROWS, 128):
        rows = slice(start, start + 128)
        assert sum((found[rows] == values[rows]).all() for values in written) == 1


def test_a_full_disk_is_said_and_the_rest_goes_in_later(tmp_path, store_format):
    """A limit on file size fails a write as a full disk does."""
    store, spec = FeatureStore.create(tmp_path / "store"), a_spec(shape=(64, 64))
    values = some_values(spec, 300)
    (plan,) = plan_array(store, spec, some_frames(), store_format=store_format)
    commit_part(store, plan, 2, values[256:])
    before = files_below(store.path)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limits[1]))
    try:
        with pytest.raises(MachineError, match=r"no room[\s\S]*bytes free"):
            commit_part(store, plan, 0, values[:128])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files_below(store.path) == before
    for part in plan_array(store, spec, some_frames())[0].missing:
        rows = plan.part_range(part)
        commit_part(store, plan, part, values[rows.start : rows.stop])
    assert read_all(store).tobytes() == values.tobytes()


def test_the_same_work_makes_the_same_store_bit_for_bit(tmp_path, store_format):
    one, two = undisturbed(tmp_path / "one", store_format), undisturbed(tmp_path / "two", store_format)
    assert files_below(one.path) == files_below(two.path)
