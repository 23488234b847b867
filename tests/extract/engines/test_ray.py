"""Actors of Ray make the store of one process, though one of them is killed."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from visual_thought.extract.config import ExtractConfig
from visual_thought.extract.engines.config import EngineConfig
from visual_thought.extract.engines.run import extract_with
from visual_thought.pipeline.errors import MissingDependency
from visual_thought.pipeline.store.compare import differences_of

from .conftest import descendants, lose_one

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (pip install '.[ray]')")
ACTOR = "ray::Extractor"


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_actors_of_which_one_is_killed_make_the_store_of_one_process(
    both_cameras: ExtractConfig,
    single: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_USAGE_STATS_ENABLED"):  # as the command line does
        monkeypatch.setenv(name, "0")
    asked = replace(both_cameras, store=tmp_path / "store")
    with lose_one(asked.store, ACTOR) as lost:
        answer = extract_with(asked, EngineConfig("ray", 2, threads=1))
    assert len(lost) == 1
    assert "an actor was lost" in caplog.text
    assert differences_of(single, asked.store) == []
    assert [(feature.parts_written, feature.parts_reused) for feature in answer.features] == [(5, 0), (5, 0)]
    assert descendants("ray::") == []


def test_without_ray_the_extra_is_named(
    both_cameras: ExtractConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = replace(both_cameras, store=tmp_path / "store")
    with pytest.raises(MissingDependency, match="needs ray") as caught:
        extract_with(asked, EngineConfig("ray", 2))
    assert "visual-thought[ray]" in str(caught.value)
    assert not asked.store.exists()
