"""Boards that fail cost a warning, not the run."""

import json
import logging
import os
import subprocess
import sys

import pytest
from grounding_toys import config_for

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.boards import Guarded, TensorBoard
from visual_thought.train.journal import Journal, read_journal
from visual_thought.train.run import train


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_the_package_a_run_warns_once_and_goes_on(toys_once, tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    train(config_for(toys_once, str(tmp_path / "run"), wandb={"enable": True}))
    (said,) = warnings_of(caplog)
    assert said.startswith("W&B is off, the run goes on without it: import of wandb halted")
    assert (tmp_path / "run" / "last").resolve().name == "000012"


OFFLINE = """if True:
    import sys
    from pathlib import Path
    from grounding_toys import config_for
    from visual_thought.train.run import train
    train(config_for(Path(sys.argv[1]), sys.argv[2], controls=[], log_freq=1, wandb={"enable": True}))
"""


@pytest.mark.slow
def test_offline_every_number_of_the_log_is_in_the_file_that_wandb_will_send(toys_once, tmp_path):
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    silent = os.environ | {"PYTHONPATH": path, "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OFFLINE, toys_once, tmp_path / "run"]
    done = subprocess.run(command, env=silent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "W&B is off" not in done.stderr
    (sent,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert history(sent) == numbers(tmp_path / "run")


BLOCK, HEADER, WHOLE, LAST = 1 << 15, 7, 1, 4  # of LevelDB's log, which W&B's file is


def history(path):
    """(step, label) -> value of every number in an offline run's file."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for data in log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        found |= {(items["_step"], name): value for name, value in items.items() if not name.startswith("_")}
    return found


def log_records(data):
    place, record = HEADER, b""
    while place + HEADER <= len(data):
        if (left := BLOCK - place % BLOCK) < HEADER:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record, place = record + data[place + HEADER : place + HEADER + size], place + HEADER + size
        if kind in (WHOLE, LAST):
            yield record
            record = b""


def numbers(run_dir):
    """The same from the run's own log."""
    lines = [line for line in read_journal(run_dir) if line["kind"] != "note"]
    found = {}
    for line in lines:
        step, kind, contender = (line.pop(name) for name in ("step", "kind", "contender"))
        kind = line.pop("split", kind)
        found |= {(step, f"{kind}/{name}/{contender}"): value for name, value in line.items() if value is not None}
    return found


def test_a_board_that_cannot_open_is_one_warning_and_the_log_is_whole(tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    board = Guarded("TensorBoard", lambda: TensorBoard(tmp_path / "tensorboard", 0))
    with Journal(tmp_path, boards=[board]) as journal:
        for step in range(3):
            journal.write("train", step, "head", {"loss": 1.0})
    assert len(warnings_of(caplog)) == 1
    assert [line["step"] for line in read_journal(tmp_path)] == [0, 1, 2]


def test_a_board_that_fails_later_is_one_warning_too(tmp_path, caplog):
    class Full:
        """A board whose disk is full from its second line on."""

        lines = 0

        def add(self, step, values):
            self.lines += 1
            if self.lines > 1:
                raise OSError("No space left on device")

        def close(self):
            raise OSError("No space left on device")

    board = Full()
    with Journal(tmp_path, boards=[Guarded("Full", lambda: board)]) as journal:
        for step in range(4):
            journal.write("train", step, "head", {"loss": 1.0})
    assert warnings_of(caplog) == ["Full is off, the run goes on without it: No space left on device"]
    assert board.lines == 2
    assert len(read_journal(tmp_path)) == 4


def test_a_board_nobody_writes_to_is_never_opened(tmp_path):
    with Journal(tmp_path, boards=[Guarded("TensorBoard", lambda: TensorBoard(tmp_path / "tensorboard", 0))]):
        pass
    assert not (tmp_path / "tensorboard").exists()


def test_a_log_that_keeps_nothing_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal(None) as journal:
        journal.write("train", 1, "head", {"loss": 1.0})
        journal.note(1, "unheard")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("section", [{"enabled": True}, {"mode": "onlin"}])
def test_a_section_that_cannot_be_meant_is_refused(toys_once, section):
    with pytest.raises(ConfigError, match="wandb"):
        config_for(toys_once, wandb=section)
