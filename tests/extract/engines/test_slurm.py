"""Tasks of an array job, run by submitit's own executor on this machine, make the store of one process."""

import shutil
import signal
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from visual_thought.extract.config import ExtractConfig
from visual_thought.extract.engines.config import EngineConfig
from visual_thought.extract.engines.run import extract_with
from visual_thought.pipeline.errors import ConfigError, MachineError, MissingDependency
from visual_thought.pipeline.store.compare import differences_of

from .conftest import descendants, lose_one

needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed (pip install '.[slurm]')"
)
TASK = "submitit.core._submit"
HERE = {"cluster": "local"}


@pytest.mark.slow
@needs_submitit
@pytest.mark.timeout(300)
def test_two_tasks_of_which_one_is_killed_make_the_store_of_one_process(
    both_cameras: ExtractConfig, single: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = replace(both_cameras, store=tmp_path / "store")
    with lose_one(asked.store, TASK) as lost:
        answer = extract_with(asked, EngineConfig("slurm", 2, threads=1, options=HERE))
    assert len(lost) == 1
    assert "ended without an answer" in caplog.text
    assert differences_of(single, asked.store) == []
    assert [(feature.parts_written, feature.parts_reused) for feature in answer.features] == [(5, 0), (5, 0)]
    assert descendants(TASK) == []
    assert list(tmp_path.iterdir()) == [asked.store]


@needs_submitit
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_preempted_task_starts_again_and_finds_its_parts(
    both_cameras: ExtractConfig, single: Path, tmp_path: Path
) -> None:
    asked = replace(both_cameras, store=tmp_path / "store")
    with lose_one(asked.store, TASK, signal.SIGUSR2) as preempted:
        extract_with(asked, EngineConfig("slurm", 2, threads=1, options=HERE))
    assert len(preempted) == 1
    assert differences_of(single, asked.store) == []


@needs_submitit
@pytest.mark.parametrize(
    ("options", "said", "kind"),
    [
        ({"cluster": "local", "partion": "gpu"}, "partion", ConfigError),
        ({"cluster": "cloud"}, "no such cluster", ConfigError),
        ({}, "this machine has no SLURM", MachineError),
    ],
)
def test_what_slurm_cannot_take_is_one_error_and_nothing_is_written(
    both_cameras: ExtractConfig, tmp_path: Path, options: dict[str, object], said: str, kind: type[Exception]
) -> None:
    asked = replace(both_cameras, store=tmp_path / "store")
    if not options and shutil.which("srun"):
        pytest.skip("this machine has SLURM")
    with pytest.raises(kind) as caught:
        extract_with(asked, EngineConfig("slurm", 2, options=options))
    assert said in str(caught.value)
    assert not asked.store.exists()
    assert list(tmp_path.rglob("*")) == []


def test_without_submitit_the_extra_is_named(
    both_cameras: ExtractConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    asked = replace(both_cameras, store=tmp_path / "store")
    with pytest.raises(MissingDependency, match="needs submitit") as caught:
        extract_with(asked, EngineConfig("slurm", 2))
    assert "visual-thought[slurm]" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
