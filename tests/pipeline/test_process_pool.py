"""Processes of a pool end with the process that started them, however it ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

from visual_thought.pipeline.processes import process_pool

CODE = """if True:
    import sys, threading
    from test_process_pool import told_and_waits
    from visual_thought.pipeline.processes import process_pool

    if __name__ == "__main__":
        pool = process_pool(2)
        for number in (0, 1):
            pool.submit(told_and_waits, f"{sys.argv[1]}/{number}")
        threading.Event().wait()
"""


def told_and_waits(path):
    """Write the number of this process, whole, and never return."""
    Path(path + ".new").write_text(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        time.sleep(60)


def parent_of():
    return os.getppid()


def is_running(pid):
    """Whether a process runs, zombies left aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(true, what):
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < 60, what
        time.sleep(0.01)


def test_a_pool_works_in_children_of_this_process():
    with process_pool(1) as pool:
        assert pool.submit(parent_of).result(timeout=60) == os.getpid()


def test_the_processes_of_a_pool_end_when_the_one_that_made_it_is_killed(tmp_path):
    script = tmp_path / "makes_a_pool.py"
    script.write_text(CODE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    parent = subprocess.Popen([sys.executable, script, tmp_path], env=environment)
    try:
        files = [tmp_path / "0", tmp_path / "1"]
        until(lambda: all(path.exists() for path in files), "the pool starts nothing")
        workers = [int(path.read_text()) for path in files]
        assert all(map(is_running, workers))
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(map(is_running, workers)), "they outlive their parent")
