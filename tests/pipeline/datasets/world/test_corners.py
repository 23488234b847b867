"""The corner detector: its targets, its scenes, its training, its files."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from visual_thought.extract.backbones import cedirnet
from visual_thought.extract.backbones.cedirnet.localiser import HANDMADE_SCORE, HandmadeLocaliser, find_peaks
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.commands.cedirnet_training import Sizes, save_published, untrained, write_cedirnet
from visual_thought.pipeline.datasets.world.corner_scenes import HEIGHT, WIDTH, Views, draw_views
from visual_thought.pipeline.datasets.world.corner_targets import corner_loss, corner_peaks, corner_targets
from visual_thought.pipeline.datasets.world.corner_training import (
    CROP,
    CornerConfig,
    best_threshold,
    sample,
    score_corners,
    train_detector,
)
from visual_thought.pipeline.errors import ConfigError

pytestmark = pytest.mark.timeout(400)  # a conversion starts a process that imports torch and timm
SHORT = CornerConfig(steps=5, localiser_steps=3, progress=False)
FEW = Sizes(train=3, localiser=2, held_out=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread: these networks are small, and other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def views() -> Views:
    return draw_views(4, seed=5)


def one_corner(x: float, y: float, size: tuple[int, int] = (48, 64)):
    corners = torch.tensor([[[x, y], [500.0, 500.0]]])
    return corner_targets(corners, corners - torch.tensor([3.0, 4.0]), torch.tensor([[True, False]]), size)


def test_the_targets_are_the_formula_by_loops() -> None:
    corners = torch.tensor([[[12.0, 9.0], [50.0, 30.0], [20.0, 40.0]]])
    inward, visible = corners + torch.tensor([6.0, -8.0]), torch.tensor([[True, True, False]])
    maps, _, near, blind = corner_targets(corners, inward, visible, (48, 64))
    for x, y in ((0, 0), (12, 20), (60, 47), (33, 18), (21, 40)):
        away = [np.hypot(cx - x, cy - y) for cx, cy in corners[0, :2].tolist()]
        cx, cy = corners[0, int(np.argmin(away))].tolist()
        r = min(away)
        expected = [(cx - x) / r, (cy - y) / r, np.log10(r + 1), -0.6, 0.8]
        np.testing.assert_allclose(maps[0, :, y, x], expected, atol=1e-5)
        assert near[0, y, x] == (max(abs(cx - x), abs(cy - y)) <= 15)
        assert blind[0, y, x] == (max(abs(cx - x), abs(cy - y)) < 3)


def test_at_the_corner_itself_sin_is_zero_and_cos_is_one() -> None:
    assert one_corner(20, 17).maps[0, :3, 17, 20].tolist() == [0.0, 1.0, 0.0]


def test_half_of_the_weight_lies_in_the_squares_and_half_outside() -> None:
    corners = torch.tensor([[[16.0, 20.0], [70.0, 30.0]], [[16.0, 20.0], [22.0, 20.0]]])
    _, weights, near, _ = corner_targets(corners, corners - 5, torch.ones(2, 2, dtype=torch.bool), (64, 96))
    for image in (0, 1):
        assert weights[image][near[image]].sum().item() == pytest.approx(0.5, abs=1e-5)
        assert weights[image][~near[image]].sum().item() == pytest.approx(0.5, abs=1e-5)
    assert weights[0, 20, 16] == weights[0, 30, 70]


def test_an_image_without_corners_counts_nothing() -> None:
    corners = torch.zeros(1, 2, 2)
    targets = corner_targets(corners, corners + 1, torch.zeros(1, 2, dtype=torch.bool), (32, 32))
    assert targets.weights.sum() == 0
    assert targets.maps.isfinite().all()
    assert all(term == 0 for term in corner_loss(torch.rand(1, 6, 32, 32), targets).values())


def test_perfect_maps_cost_nothing_and_channel_five_never_counts() -> None:
    targets = one_corner(20.25, 17.5)
    maps = torch.cat([targets.maps, torch.rand(1, 1, 48, 64)], dim=1)
    assert all(term.item() == 0 for term in corner_loss(maps, targets).values())
    assert corner_loss(maps + 0.1, targets)["direction"].item() == pytest.approx(0.2, rel=0.05)


def test_the_targets_decode_to_the_corners_they_were_made_of() -> None:
    """The same decoder that reads the network's maps, on the maps it should have."""
    corners = torch.tensor([[[30.0, 20.0], [90.0, 70.0], [100.0, 24.0]]])
    targets = corner_targets(corners, corners - torch.tensor([0.0, 5.0]), torch.ones(1, 3, dtype=torch.bool), (96, 128))
    maps, localiser = torch.cat([targets.maps, torch.zeros(1, 1, 96, 128)], dim=1), HandmadeLocaliser()
    (found,) = find_peaks(localiser(maps), localiser.gaussian_blur, maps, HANDMADE_SCORE)
    assert {tuple(xy) for xy in found.xy[:3].tolist()} == {tuple(xy) for xy in corners[0].tolist()}
    torch.testing.assert_close(found.angle[:3], torch.full((3,), np.pi / 2))


def test_peaks_stand_at_visible_corners_only() -> None:
    corners = torch.tensor([[[20.0, 10.0], [40.0, 30.0]]])
    peaks = corner_peaks(corners, torch.tensor([[True, False]]), (48, 64), sigma_px=2)
    assert peaks[0, 0, 10, 20] == 1
    assert peaks[0, 0, 30, 40] < 1e-6


def test_views_are_the_same_for_the_same_seed_and_their_corners_are_in_view(views: Views) -> None:
    again, other = draw_views(4, seed=5), draw_views(4, seed=6)
    np.testing.assert_array_equal(views.images, again.images)
    np.testing.assert_array_equal(views.corners, again.corners)
    assert (views.images != other.images).mean() > 0.5
    assert views.images.shape == (8, 3, HEIGHT, WIDTH)
    shown = views.corners[views.visible]
    assert (shown > -0.5).all()
    assert (shown < [WIDTH - 0.5, HEIGHT - 0.5]).all()


def test_examples_are_pieces_of_views_with_a_corner_in_them(views: Views) -> None:
    """What a view shows round a corner, the example shows there too, mirrored and turned as its axes are."""
    unlike, turned = 0, set()
    for step in range(10):
        batch = sample(views, np.random.default_rng(step), size=3)
        for image, corners, visible in zip(batch.images.numpy(), batch.corners.numpy(), batch.visible, strict=True):
            inside = visible.numpy() & (corners > 4).all(1) & (corners < CROP - 5).all(1)
            assert image.shape == (3, CROP, CROP)
            assert (visible.numpy() & (corners >= 0).all(1) & (corners < CROP).all(1)).any()
            row, axes = which_view(views, corners)
            turned.add(axes)
            for found, true in zip(corners[inside], views.corners[row][inside], strict=True):
                here, there = around(image, found), around(views.images[row] / 255, true)
                likeness = [np.corrcoef(here.ravel(), way.ravel())[0, 1] for way in ways(there)]
                unlike += max(likeness) < 0.8
    assert len(turned) == 8
    assert unlike <= 1


def which_view(views: Views, corners: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """The view whose corners have these distances from one another, and how its axes were turned."""
    for row, true in enumerate(views.corners):
        apart, wanted = corners[1:] - corners[:1], true[1:] - true[:1]
        for swap in (False, True):
            there = wanted[:, ::-1] if swap else wanted
            for sx in (1, -1):
                for sy in (1, -1):
                    if np.allclose(apart, there * [sx, sy], atol=1e-3):
                        return row, (swap, sx, sy)
    raise AssertionError("an example of no view")


def around(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    x, y = np.round(at).astype(int)
    return image[:, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]


def ways(patch: np.ndarray) -> list[np.ndarray]:
    mirrored = [patch, patch[:, ::-1], patch[:, :, ::-1], patch[:, ::-1, ::-1]]
    return [way for one in mirrored for way in (one, one.transpose(0, 2, 1))]


@pytest.mark.slow
def test_the_loss_falls_and_the_same_seed_gives_the_same_losses(views: Views) -> None:
    from visual_thought.extract.backbones.cedirnet.network import CeDiRNetDetector, DetectorShape

    def train(steps: int) -> list[float]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            detector = CeDiRNetDetector(DetectorShape((32, 64, 128, 256), (1, 1, 1, 1), widths=(64, 64, 32)))
        config = CornerConfig(steps=steps, progress=False)
        return train_detector(detector, views, config)

    trace = train(14)
    assert np.mean(trace[-4:]) < 0.9 * np.mean(trace[:4])
    assert np.array_equal(train(3), train(3))


def test_the_threshold_is_the_one_with_the_best_f1(views: Views) -> None:
    """True corners score 0.6, false ones 0.4: everything between is best."""
    found = []
    for corners, visible in zip(views.corners, views.visible, strict=True):
        right = np.column_stack([corners[visible], np.full(visible.sum(), 0.6)])
        found.append(np.concatenate([right, [[-50.0, -50.0, 0.4]]]))
    assert 0.4 <= best_threshold(found, views) < 0.6
    assert score_corners(found, views, 0.5).f1 == 1
    assert score_corners(found, views).hits == int(views.visible.sum())
    assert score_corners(found, views).precision < 1


@pytest.mark.slow
def test_training_writes_the_authors_files_and_what_the_converter_makes_of_them(tmp_path) -> None:
    out = tmp_path / "cedirnet"
    made = write_cedirnet(out, pretrained=True, seed=1, config=SHORT, sizes=FEW, workers=0)
    assert {path.name for path in out.iterdir()} == {
        "config.json", "model.safetensors", "localiser.safetensors", "published",
    }  # fmt: skip
    assert {"corner_f1", "corner_precision", "corner_recall", "seconds", "cpu_seconds"} <= set(made)
    config = json.loads((out / "config.json").read_text())
    assert config["detector"]["dims"] == [32, 64, 128, 256]
    assert config["localiser"]
    assert config["source"]["file"] == "ConvNext-narrow-RGB.pth"
    model = cedirnet.load(out)
    maps = model(torch.rand(1, 3, 64, 96))
    assert maps.shape == (1, 6, 64, 96)
    assert len(model.decode(maps)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cedirnet"]
    with pytest.raises(ConfigError, match="exists already"):
        write_cedirnet(out, pretrained=True, seed=1, config=SHORT, sizes=FEW, workers=0)


@pytest.mark.slow
def test_the_published_detector_needs_the_localisers_own_file(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    published = tmp_path / "published"
    save_published(published, untrained(seed=0))
    detector, localiser = published / "ConvNext-narrow-RGB.pth", published / "localization_checkpoint.pth"
    assert run(["weights", "convert-cedirnet", str(detector), "--out", str(tmp_path / "a")]) == 3
    assert "running statistics" in capsys.readouterr().err
    place = ["--out", str(tmp_path / "b"), "--localiser", str(localiser), "--json"]
    assert run(["weights", "convert-cedirnet", str(detector), *place]) == 0
    assert json.loads(capsys.readouterr().out)["localiser"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_shipped_recipe_finds_corners(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["world", "checkpoints", "--only", "cedirnet", "--out", str(tmp_path), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["corners"]
    assert scores["corner_f1"] >= 0.8
    assert sum(scores["cpu_seconds"].values()) < 600  # five minutes of two cores
