"""The grounding head against equations 35-46 written as loops."""

import math

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.spec import TokenLayout
from visual_thought.train.heads.ground import GroundingHead, GroundingHeadConfig, GroundingShapes, spatial_tokens
from visual_thought.train.heads.neighbourhood import Neighbourhood
from visual_thought.train.heads.probe import LinearProbe
from visual_thought.train.heads.scores import GroundingScores, combine, predict, top_candidates
from visual_thought.train.positions import grid_code

LAYOUT = TokenLayout(grid=(3, 4), prefix=1, text=2)
SHAPES = GroundingShapes(dim=6, d_vlm=5, layout=LAYOUT, d_fine=7, fine_grid=(6, 8), input_size=(60, 80))


def make_head(**changes) -> GroundingHead:
    torch.manual_seed(0)
    return GroundingHead(SHAPES, GroundingHeadConfig(**{"dim": 8, "candidates": 3, "num_heads": 2} | changes)).eval()


def inputs(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((batch, 6), (batch, 15, 5), (batch, 6, 8, 7))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def test_coarse_logits_are_equations_35_to_37():
    head, (tau, z, _) = make_head(), inputs()
    a, code = head.coarse(tau, z), grid_code(3, 4, 5)
    for row in range(2):
        q = head.scorer.to_query(tau[row])
        for j in range(12):
            k = head.scorer.to_key(z[row, 1 + j] + code[j])
            assert math.isclose(a[row, j].item(), (q @ k).item() / math.sqrt(8), abs_tol=1e-5)


def test_spatial_tokens_leave_prefix_and_text_out():
    z = torch.arange(15.0).view(1, 15, 1)
    assert spatial_tokens(z, LAYOUT).flatten().tolist() == list(range(1, 13))


def naive_window(cell: int) -> list[tuple[int, int] | None]:
    """Fine positions of the 4 x 4 window of a cell of the 3 x 4 grid; None beyond the border."""
    row, column = cell // 4 * 2, cell % 4 * 2
    window = [(row + i, column + j) for i in range(-1, 3) for j in range(-1, 3)]
    return [place if 0 <= place[0] < 6 and 0 <= place[1] < 8 else None for place in window]


@pytest.mark.parametrize("cell", range(12))
def test_a_neighbourhood_is_the_block_and_one_ring_with_masked_repeats_at_the_border(cell):
    around = Neighbourhood((3, 4), (6, 8))
    fine = torch.arange(48.0).view(1, 6, 8, 1)
    local, valid = around(fine, torch.tensor([[cell]]))
    for place, value, ok in zip(naive_window(cell), local[0, 0, :, 0].tolist(), valid[0, 0].tolist(), strict=True):
        assert ok == (place is not None)
        if place is not None:
            assert value == place[0] * 8 + place[1]
    own = local[0, 0, around.own, 0].tolist()
    row, column = cell // 4 * 2, cell % 4 * 2
    assert own == [row * 8 + column, row * 8 + column + 1, (row + 1) * 8 + column, (row + 1) * 8 + column + 1]
    assert valid[0, 0, around.own].all()


@pytest.mark.parametrize("cell", [0, 5, 11])
def test_refinement_is_equations_41_to_44_over_real_positions_only(cell):
    head, (tau, _, fine) = make_head(), inputs(1)
    refiner, code = head.refiner, grid_code(4, 4, 7)
    window = [(s, place) for s, place in enumerate(naive_window(cell)) if place is not None]
    keys = {s: refiner.to_key(fine[0, place[0], place[1]] + code[s]) for s, place in window}
    q = refiner.to_query(tau[0])
    context = torch.stack(list(keys.values()))
    q_bar = refiner.norm(q + refiner.mix(refiner.attention(q[None, None], context[None])[0, 0]))
    expected = [(q_bar @ keys[s]).item() / math.sqrt(8) for s in (5, 6, 9, 10)]
    actual = refiner(tau, fine, torch.tensor([[cell]]))[0, 0]
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_a_candidate_scores_its_coarse_logit_and_the_log_sum_of_its_places():
    coarse, refined = torch.tensor([[0.5, -1.0]]), torch.tensor([[[0.0, 1.0], [2.0, -3.0]]])
    expected = [0.5 + math.log(1 + math.e), -1.0 + math.log(math.exp(2) + math.exp(-3))]
    torch.testing.assert_close(combine(coarse, refined)[0], torch.tensor(expected))


def test_what_lies_beyond_the_window_of_the_candidates_changes_nothing():
    head, (tau, z, fine) = make_head(candidates=1), inputs(1)
    before = head(tau, z, fine)
    touched = {place for place in naive_window(int(before.candidates)) if place is not None}
    other = fine + 100.0
    for row, column in touched:
        other[0, row, column] = fine[0, row, column]
    assert torch.equal(head(tau, z, other).refined, before.refined)


def test_the_order_of_candidates_does_not_change_their_scores():
    head, (tau, z, fine) = make_head(), inputs()
    coarse, candidates = head.coarse(tau, z), torch.tensor([[1, 7, 11], [0, 3, 4]])
    forth, back = (head.refine(tau, coarse, fine, order) for order in (candidates, candidates.flip(1)))
    torch.testing.assert_close(forth.scores, back.scores.flip(1))


def test_more_candidates_than_cells_means_all_cells():
    head, (tau, z, fine) = make_head(candidates=50), inputs()
    scores = head(tau, z, fine)
    assert scores.candidates.sort(dim=1).values.tolist() == [list(range(12))] * 2
    assert scores.refined.shape == (2, 12, 4)


def test_candidates_are_the_best_cells_best_first():
    assert top_candidates(torch.tensor([[0.0, 3.0, -1.0, 2.0]]), 2).tolist() == [[1, 3]]


def test_without_refinement_the_coarse_logits_decide_and_r_is_not_needed():
    head = make_head(refine=False)
    tau, z, _ = inputs()
    scores = head(tau, z)
    assert torch.equal(scores.scores, scores.coarse.gather(1, scores.candidates))
    found = predict(scores, (3, 4), (60, 80))
    assert torch.equal(found.cell, scores.coarse.argmax(1))
    assert found.point[0].tolist() == [(int(found.cell[0]) % 4 + 0.5) * 20, (int(found.cell[0]) // 4 + 0.5) * 20]


def test_the_prediction_is_the_best_candidate_and_its_best_place():
    scores = GroundingScores(
        coarse=torch.zeros(1, 12),
        candidates=torch.tensor([[2, 7]]),
        refined=torch.tensor([[[9.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 0.0]]]),
        scores=torch.tensor([[1.0, 1.5]]),
    )
    found = predict(scores, (3, 4), (60, 80))
    assert (int(found.cell), int(found.sub_cell)) == (7, 2)  # row 1, column 3; lower left of its block
    assert found.point.tolist() == [[(3 * 2 + 0 + 0.5) * 10, (1 * 2 + 1 + 0.5) * 10]]


def test_refinement_without_r_is_refused():
    shapes = GroundingShapes(6, 5, LAYOUT, None, None, (60, 80))
    with pytest.raises(ConfigError, match="feature r"):
        GroundingHead(shapes, GroundingHeadConfig(dim=8))


@pytest.mark.parametrize("fine", [(7, 8), (6, 12), (2, 2)])
def test_a_fine_grid_that_does_not_divide_into_cells_is_refused(fine):
    with pytest.raises(ConfigError, match="whole multiple"):
        Neighbourhood((3, 4), fine)


def test_the_probe_is_one_linear_map_of_each_cell():
    probe, (_, z, _) = LinearProbe(5, LAYOUT), inputs()
    a = probe(z)
    assert sum(p.numel() for p in probe.parameters()) == 6
    for j in range(12):
        expected = (probe.linear.weight[0] @ z[1, 1 + j] + probe.linear.bias[0]).item()
        assert math.isclose(a[1, j].item(), expected, abs_tol=1e-5)
