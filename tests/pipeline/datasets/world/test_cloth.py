"""The cloth: its folds, its corners, what the pictures show of them, and the rule that labels it."""

import numpy as np
import pytest

from visual_thought.pipeline.datasets.labels import decode_rle
from visual_thought.pipeline.datasets.world import arm
from visual_thought.pipeline.datasets.world.cloth import (
    CELLS,
    SIGNS,
    BoxPlace,
    Cloth,
    Fold,
    Hold,
    drape,
    fold,
    frame,
    free_corners,
    grid,
)
from visual_thought.pipeline.datasets.world.cloth_episode import ClothEpisode, draw_cloth_episode
from visual_thought.pipeline.datasets.world.cloth_render import CLOTH, FIRST_CORNER, render_cloth
from visual_thought.pipeline.datasets.world.cloth_scene import draw_cloth
from visual_thought.pipeline.datasets.world.cloth_truth import (
    HELD,
    INSTRUCTIONS,
    LYING,
    TASK,
    cloth_label_rows,
    find_corners,
)
from visual_thought.pipeline.datasets.world.cloths import record_cloth_episode
from visual_thought.pipeline.datasets.world.recording import WorldConfig
from visual_thought.pipeline.datasets.world.render import BOX, View, draw_backdrop

SIZE = {"height": 120, "width": 160}
NOWHERE = BoxPlace(9.0, 9.0, 0.0)


def episode(seed: int = 0, *, present: bool = True) -> ClothEpisode:
    return draw_cloth_episode(np.random.default_rng(seed), frames=20, present=present, **SIZE)


def look(done: ClothEpisode, t: int, camera: str = "top") -> View:
    scene, moment = done.scene, done.moments[t]
    backdrop = draw_backdrop(scene.table, scene.table.cameras[camera])
    return render_cloth(scene, backdrop, state=moment.state, hold=moment.hold, rng=np.random.default_rng(0))


def edge_lengths(points: np.ndarray) -> np.ndarray:
    surface = points.reshape(CELLS + 1, CELLS + 1, 3)
    return np.concatenate([np.linalg.norm(np.diff(surface, axis=axis), axis=-1).ravel() for axis in (0, 1)])


def test_one_fold_stretches_nothing() -> None:
    for seed in range(12):
        cloth = draw_cloth(np.random.default_rng(seed))
        once = Cloth(cloth.edge, cloth.folds[:1], 0.0, 0)
        lengths = edge_lengths(fold(once, grid())) / (cloth.edge / CELLS)
        assert lengths.max() < 1 + 1e-9
        assert lengths.min() > 0.6  # a chord over the roll is shorter than its arc
        assert np.median(lengths) == pytest.approx(1, abs=1e-9)


def test_what_is_folded_lies_on_what_is_not() -> None:
    cloth = Cloth(0.16, (Fold((0.03, 0.0), (1.0, 0.0), np.pi - 1e-6),), 0.0, 0)
    points = fold(cloth, grid())
    turned = grid()[:, 0] * 0.08 > 0.04
    assert points[turned, 2].min() > points[~turned & (grid()[:, 0] < 0.3), 2].max()
    assert points[turned, 0].max() < 0.03 + 0.002


def test_a_lying_cloth_is_where_its_corners_say() -> None:
    cloth = Cloth(0.16, (), 0.0, 0)
    hold = Hold(corner=0, x=0.2, y=0.05, height=0.0, towards=0.7)
    corners = drape(cloth, hold, NOWHERE, SIGNS.astype(float))
    sides = [np.linalg.norm(corners[k] - corners[(k + 1) % 4]) for k in range(4)]
    np.testing.assert_allclose(sides, 0.16, atol=1e-6)
    assert np.linalg.norm(corners[0, :2] - [0.2, 0.05]) == pytest.approx(0.014, abs=1e-6)


def test_a_held_corner_hangs_at_the_jaws_and_the_rest_on_the_table() -> None:
    done = episode(3)
    assert done.scene.cloth is not None
    for moment in done.moments:
        if not moment.held or moment.hold is None:
            continue
        hand = arm.hand_pose(moment.state[:5]).translation
        corner = drape(done.scene.cloth, moment.hold, done.scene.box, SIGNS[moment.hold.corner][None].astype(float))[0]
        assert np.linalg.norm(corner - hand) < 0.035
        assert drape(done.scene.cloth, moment.hold, NOWHERE, grid())[:, 2].min() < 0.012


def test_the_corner_ends_in_the_box() -> None:
    for seed in range(6):
        done = episode(seed)
        last = done.moments[-1]
        assert last.hold is not None
        assert last.released
        assert np.hypot(last.hold.x - done.scene.box.x, last.hold.y - done.scene.box.y) < 0.02
        assert next(m.phase for m in done.moments if m.held) == "lift"


def test_the_cloth_is_pulled_and_never_jumps() -> None:
    done = episode(4)
    assert done.scene.cloth is not None
    places = np.stack([drape(done.scene.cloth, m.hold, NOWHERE, SIGNS * 0.0) for m in done.moments if m.hold])[:, 0, :2]
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.max() < 0.06
    assert np.linalg.norm(places[-1] - places[0]) > 0.01


def test_only_corners_on_the_outline_are_picked() -> None:
    turned_in = Cloth(0.16, (Fold((0.02, 0.02), (2**-0.5, 2**-0.5), np.pi - 0.02),), 0.0, 0)
    assert 2 not in free_corners(turned_in)
    assert set(free_corners(Cloth(0.16, (), 0.0, 0))) == {0, 1, 2, 3}
    here, inward = frame(turned_in, 0)
    assert inward @ (np.zeros(2) - here) > 0


@pytest.mark.parametrize("camera", ["main", "top"])
def test_a_corner_that_is_visible_lies_at_its_patch_of_the_picture(camera: str) -> None:
    """The projected vertex against the id map, which is rasterised from the mesh."""
    shown = 0
    for seed in range(8):
        done = episode(seed)
        for t in (0, 12, 19):
            view = look(done, t, camera)
            found = find_corners(done.scene, done.moments[t], done.scene.table.cameras[camera], view)
            assert found is not None
            for k in np.flatnonzero(found.visible):
                patch = np.argwhere((view.objects == CLOTH) & (view.parts == FIRST_CORNER + k))[:, ::-1] + 0.5
                assert np.linalg.norm(patch - found.xy[k], axis=1).min() < 2.2
                shown += 1
    assert shown > 50


def test_a_visible_corner_of_a_flat_cloth_is_the_extreme_pixel_of_its_patch() -> None:
    done = next(e for e in (episode(seed) for seed in range(60)) if e.scene.cloth and not e.scene.cloth.folds)
    view = look(done, 0)
    found = find_corners(done.scene, done.moments[0], done.scene.table.cameras["top"], view)
    assert found is not None
    for k in np.flatnonzero(found.visible):
        patch = np.argwhere((view.objects == CLOTH) & (view.parts == FIRST_CORNER + k))[:, ::-1] + 0.5
        outward = found.xy[k] - found.inward[k]
        outward /= np.linalg.norm(outward)
        assert (patch @ outward).max() == pytest.approx(found.xy[k] @ outward, abs=2.0)


def test_a_corner_under_a_fold_is_not_visible() -> None:
    hidden = 0
    for seed in range(40):
        done = episode(seed)
        found = find_corners(done.scene, done.moments[0], done.scene.table.cameras["top"], look(done, 0))
        assert found is not None
        hidden += int((~found.visible).sum())
    assert 5 < hidden < 80


def test_the_rule_follows_what_is_held() -> None:
    done = episode(2)
    before, during, after = (
        next(t for t, m in enumerate(done.moments) if m.phase == p) for p in ("approach", "carry", "retreat")
    )
    told = {
        t: {row["instruction"]: row["target"] for row in cloth_label_rows(done.moments[t], look(done, t, "main"))}
        for t in (before, during, after)
    }
    assert told[before][TASK] == told[before][LYING] == "cloth corner"
    assert told[before][HELD] == told[after][HELD] == ""
    assert told[during][TASK] == told[after][TASK] == "white box"


def test_a_label_is_the_visible_region_of_its_target() -> None:
    done = episode(2)
    t = next(t for t, m in enumerate(done.moments) if m.phase == "carry")
    view, moment = look(done, t, "main"), done.moments[t]
    rows = {row["instruction"]: row for row in cloth_label_rows(moment, view)}
    assert moment.hold is not None
    picked = (view.objects == CLOTH) & (view.parts == FIRST_CORNER + moment.hold.corner)
    others = (view.objects == CLOTH) & (view.parts >= FIRST_CORNER) & ~picked
    for text, mask in ((TASK, view.objects == BOX), (HELD, picked), (LYING, others)):
        row = rows[text]
        if row["positive"]:
            np.testing.assert_array_equal(decode_rle(row["mask"], row["mask_height"], row["mask_width"]), mask)
            assert mask[int(row["point_y"]), int(row["point_x"])]
    assert rows[TASK]["positive"]


def test_without_a_cloth_the_arm_searches_and_nothing_is_positive() -> None:
    done = episode(present=False)
    assert {m.phase for m in done.moments} == {"search"}
    view = look(done, 0)
    assert not (view.objects == CLOTH).any()
    assert find_corners(done.scene, done.moments[0], done.scene.table.cameras["top"], view) is None
    assert [row["instruction"] for row in cloth_label_rows(done.moments[0], view)] == list(INSTRUCTIONS)
    assert not any(row["positive"] for row in cloth_label_rows(done.moments[0], view))


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(tmp_path) -> None:
    config = WorldConfig(out=tmp_path / "w", frames=12, width=128, height=96, workers=0)
    first, again, other = (record_cloth_episode(config, number) for number in (2, 2, 3))
    for camera, frames in first.frames.items():
        np.testing.assert_array_equal(frames, again.frames[camera])
        assert (frames != other.frames[camera]).mean() > 0.5
    assert (first.labels, first.facts) == (again.labels, again.facts)
    assert len(first.facts) == 12 * 2 * 4
    np.testing.assert_array_equal(first.states, again.states)
