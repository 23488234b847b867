"""Boards that fail cost a warning, not the run."""

import importlib.util
import logging

import pytest
from grounding_toys import config_for

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.boards import Guarded, TensorBoard
from visual_thought.train.journal import Journal, read_journal
from visual_thought.train.run import train


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed here")
def test_without_the_package_a_run_warns_once_and_goes_on(toys_once, tmp_path, caplog):
    train(config_for(toys_once, str(tmp_path / "run"), wandb={"enable": True}))
    (said,) = warnings_of(caplog)
    assert said.startswith("W&B is off, the run goes on without it: No module named 'wandb'")
    assert (tmp_path / "run" / "last").resolve().name == "000012"


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
