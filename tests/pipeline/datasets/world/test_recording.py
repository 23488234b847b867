"""Rendering beside writing: every episode once, in order, and never far ahead of the writer."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from visual_thought.pipeline.datasets.world.recording import AHEAD, Recording, Subject, WorldConfig, in_order


def test_episodes_come_in_order_and_only_a_few_are_rendered_ahead() -> None:
    rendered: list[int] = []

    def record(config: WorldConfig, number: int) -> Recording:
        rendered.append(number)
        return Recording(frames={}, states=None, actions=None, task=str(number), labels=[])  # type: ignore[arg-type]

    config = WorldConfig(Path("unused"), episodes=40, workers=2)
    with ThreadPoolExecutor(config.workers) as pool:
        for number, recording in enumerate(in_order(pool, Subject("nothing", record), config)):
            assert recording.task == str(number)
            assert len(rendered) <= number + 1 + AHEAD * config.workers
    assert sorted(rendered) == list(range(40))
