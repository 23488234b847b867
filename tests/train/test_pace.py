"""How fast a run says it is, and what share of the time it waited."""

from types import SimpleNamespace

import pytest

from visual_thought.train.loop import Pace


def test_a_lap_is_samples_a_second_and_the_share_of_it_that_was_waited(monkeypatch):
    clock, loader = SimpleNamespace(now=100.0), SimpleNamespace(waited_s=7.0)
    monkeypatch.setattr("visual_thought.train.loop.time.perf_counter", lambda: clock.now)
    pace = Pace(loader)
    clock.now, loader.waited_s = 104.0, 8.0
    assert pace.lap(320) == pytest.approx({"samples_per_s": 80.0, "waiting": 0.25})
    clock.now = 106.0
    assert pace.lap(20) == pytest.approx({"samples_per_s": 10.0, "waiting": 0.0})
