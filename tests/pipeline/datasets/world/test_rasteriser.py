"""The z-buffer against loops."""

import numpy as np
import pytest

from visual_thought.pipeline.datasets.world.rasteriser import Camera, cover, rasterise
from visual_thought.pipeline.datasets.world.solids import Pose, box, cylinder, turn


def straight_down(size: int = 40) -> Camera:
    """One metre above the origin; x of the image is world -y, y of the image is world -x."""
    return Camera.look_at(np.array([0.0, 1e-9, 1.0]), np.zeros(3), field_of_view_deg=60, height=size, width=size)


def inside(point: np.ndarray, corners: np.ndarray) -> bool:
    sides = []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        edge, to = corners[b] - corners[a], point - corners[a]
        sides.append(edge[0] * to[1] - edge[1] * to[0])
    return min(sides) > 1e-6 or max(sides) < -1e-6


def test_a_triangle_covers_the_pixels_whose_centres_lie_in_it() -> None:
    camera = straight_down()
    triangle = np.array([[[0.2, -0.3, 0.0], [0.1, 0.4, 0.0], [-0.4, 0.1, 0.1]]])
    drawn = cover(triangle, camera)
    corners = camera.project(triangle[0])
    expected = np.array([[inside(np.array([c + 0.5, r + 0.5]), corners) for c in range(40)] for r in range(40)])
    assert 50 < expected.sum() < 800
    assert (drawn != expected).sum() <= 2  # centres on an edge within rounding


def test_only_the_side_that_faces_the_camera_is_drawn() -> None:
    camera = straight_down()
    up = np.array([[[0.2, -0.3, 0.0], [0.1, 0.4, 0.0], [-0.4, 0.1, 0.0]]])
    drawn = {bool((rasterise(t, camera).triangle >= 0).any()) for t in (up, up[:, ::-1])}
    assert drawn == {True, False}


def test_the_nearer_solid_wins_and_its_depth_is_exact() -> None:
    camera = straight_down()
    low, high = box((0.4, 0.4, 0.1)), box((0.1, 0.1, 0.1))
    triangles = np.concatenate([low.triangles, high.triangles + np.array([0, 0, 0.3])])
    seen = rasterise(triangles, camera)
    middle = seen.triangle[20, 20]
    assert middle >= len(low.triangles)
    assert seen.depth[20, 20] == pytest.approx(1.0 - 0.35, abs=1e-5)
    assert seen.depth[20, 13] == pytest.approx(1.0 - 0.05, abs=1e-5)


def test_what_reaches_behind_the_camera_is_dropped() -> None:
    camera = straight_down()
    behind = np.array([[[0.2, -0.3, 0.0], [0.1, 0.4, 0.0], [-0.4, 0.1, 1.5]]])
    assert (rasterise(behind, camera).triangle == -1).all()


def test_nothing_to_draw_draws_nothing() -> None:
    seen = rasterise(np.zeros((0, 3, 3)), straight_down())
    assert (seen.triangle == -1).all()
    assert np.isinf(seen.depth).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_solids_are_closed_and_face_outward(axis: int) -> None:
    for solid, volume in ((box((0.2, 0.3, 0.4)), 0.024), (cylinder(0.1, 0.5, axis, sides=64), np.pi * 0.005)):
        a, b, c = np.moveaxis(solid.triangles, 1, 0)
        assert np.einsum("ti,ti->", a, np.cross(b, c)) / 6 == pytest.approx(volume, rel=0.01)


def test_a_pose_and_its_inverse_cancel() -> None:
    pose = Pose(turn(2, 0.4) @ turn(0, -1.1), np.array([0.1, -0.2, 0.3]))
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(pose.inverse().apply(pose.apply(points)), points, atol=1e-12)


def test_a_camera_projects_its_target_to_the_centre_and_rays_hit_what_was_projected() -> None:
    camera = Camera.look_at(
        np.array([0.6, 0.2, 0.4]), np.array([0.1, 0.0, 0.05]), field_of_view_deg=42, height=60, width=80, roll_deg=3
    )
    np.testing.assert_allclose(camera.project(np.array([0.1, 0.0, 0.05])), [40, 30], atol=1e-9)
    depth = 0.7
    point = camera.position + camera.rays()[10, 20] * depth
    np.testing.assert_allclose(camera.project(point), [20.5, 10.5], atol=1e-4)
