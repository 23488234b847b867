"""The arm, the expert and the rule that labels what is seen."""

import numpy as np
import pytest

from visual_thought.pipeline.datasets.labels import decode_rle
from visual_thought.pipeline.datasets.world import arm
from visual_thought.pipeline.datasets.world.cubes import CubesConfig, list_splits, record_episode, write_cubes
from visual_thought.pipeline.datasets.world.episode import Episode, draw_episode
from visual_thought.pipeline.datasets.world.language import COLOURS, instruction
from visual_thought.pipeline.datasets.world.render import BOX, CUBE_OBJECT, OBJECTS, draw_backdrop, render
from visual_thought.pipeline.datasets.world.truth import label_rows, target_of
from visual_thought.pipeline.errors import ConfigError

SIZE = {"height": 96, "width": 128}


def episode(seed: int = 0, *, colour: str = "blue", present: bool = True) -> Episode:
    return draw_episode(np.random.default_rng(seed), frames=40, colour=colour, present=present, **SIZE)


@pytest.mark.parametrize("place", [(0.15, -0.13), (0.20, 0.0), (0.27, 0.13), (0.275, -0.05)])
@pytest.mark.parametrize("height", [0.016, 0.10])
def test_the_hand_reaches_the_whole_table_exactly(place: tuple[float, float], height: float) -> None:
    target = np.array([*place, height])
    joints = arm.reach(target, jaw_yaw=0.3)
    assert np.abs(arm.hand_pose(joints).translation - target).max() < 1e-9


def test_the_expert_goes_through_its_phases_in_order() -> None:
    phases = list(dict.fromkeys(m.phase for m in episode().moments))
    assert phases == ["approach", "grasp", "lift", "carry", "place", "retreat"]


def test_the_cube_moves_with_the_hand_and_ends_in_the_box() -> None:
    for seed in range(8):
        done = episode(seed)
        held = [m for m in done.moments if m.held]
        assert held
        for moment in held:
            hand = arm.hand_pose(moment.state[:5]).translation
            assert np.linalg.norm(moment.cubes["blue"].translation - hand) < 0.03
        last = done.moments[-1]
        offset = last.cubes["blue"].translation[:2] - [done.scene.box_x, done.scene.box_y]
        assert np.abs(offset).max() < 0.06
        assert last.released == "blue"
        assert last.held is None


def test_the_state_trails_the_command() -> None:
    moments = episode().moments
    gap = [np.abs(m.action - m.state).max() for m in moments]
    assert max(gap) > 0.01
    assert gap[0] < 1e-9 or gap[0] < max(gap)


def test_where_the_cube_is_absent_the_arm_searches_and_holds_nothing() -> None:
    looked = episode(present=False)
    assert {m.phase for m in looked.moments} == {"search"}
    assert all(m.held is None and "blue" not in m.cubes for m in looked.moments)


def test_the_rule_follows_what_is_held() -> None:
    done = episode(3)
    before, during, after = (next(m for m in done.moments if m.phase == p) for p in ("approach", "carry", "retreat"))
    others = [c for c in COLOURS if c != "blue" and done.scene.cube(c)]
    assert target_of(before, "blue") == CUBE_OBJECT["blue"]
    assert target_of(during, "blue") == target_of(after, "blue") == BOX
    for colour in others:
        assert target_of(before, colour) == target_of(after, colour) == CUBE_OBJECT[colour]
        assert target_of(during, colour) is None
    absent = [c for c in COLOURS if not done.scene.cube(c)]
    assert all(target_of(m, c) is None for m in done.moments for c in absent)


def test_a_label_is_the_visible_region_of_its_target() -> None:
    done = episode(5)
    moment = done.moments[0]
    backdrop = draw_backdrop(done.scene, done.scene.cameras["top"])
    view = render(done.scene, backdrop, state=moment.state, cubes=moment.cubes, rng=np.random.default_rng(0))
    rows = label_rows(moment, view.objects)
    assert [row["instruction"] for row in rows] == [instruction(colour) for colour in COLOURS]
    seen = [row for row in rows if row["positive"]]
    assert seen
    for row in seen:
        mask = decode_rle(row["mask"], row["mask_height"], row["mask_width"])
        np.testing.assert_array_equal(mask, view.objects == OBJECTS.index(row["target"]))
        assert mask[int(row["point_y"]), int(row["point_x"])]


def test_a_target_that_is_hidden_is_a_negative() -> None:
    done = episode(5)
    rows = label_rows(done.moments[0], np.zeros((96, 128), np.uint8))
    assert all(not row["positive"] and row["target"] == "" for row in rows)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(tmp_path) -> None:
    config = CubesConfig(out=tmp_path / "w", frames=12, width=128, height=96, workers=0)
    first, again, other = (record_episode(config, number) for number in (2, 2, 3))
    for camera, frames in first.frames.items():
        np.testing.assert_array_equal(frames, again.frames[camera])
        assert (frames != other.frames[camera]).mean() > 0.5
    assert first.labels == again.labels


def test_splits_are_whole_episodes_28_4_8_of_forty() -> None:
    splits = list_splits(40)
    assert [len(splits.train), len(splits.val), len(splits.test)] == [28, 4, 8]
    assert sorted(splits.train + splits.val + splits.test) == list(range(40))


def test_a_world_never_overwrites(tmp_path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        write_cubes(CubesConfig(out=tmp_path))
