"""The grounding objective against equations 47-50 written as loops."""

import math

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.heads.scores import GroundingScores
from visual_thought.train.objectives.grounding import (
    GroundingObjectiveConfig,
    choose_candidates,
    coarse_loss,
    grounding_terms,
    margin,
    refine_loss,
)
from visual_thought.train.objectives.terms import pooled, total

PAPER = GroundingObjectiveConfig()


def naive_coarse(a: list[float], y: list[bool], config: GroundingObjectiveConfig) -> float:
    low, high = (
        math.log(config.p_negative / (1 - config.p_negative)),
        math.log(config.p_positive / (1 - config.p_positive)),
    )
    positive = [config.positive_weight * max(0.0, high - v) for v, yes in zip(a, y, strict=True) if yes]
    negative = sorted((v for v, yes in zip(a, y, strict=True) if not yes), reverse=True)[: config.hard_negatives]
    losses = positive + [max(0.0, v - low) for v in negative]
    return sum(losses) / len(losses)


def test_the_margins_are_the_logits_of_the_probabilities():
    assert math.isclose(1 / (1 + math.exp(-margin(0.60))), 0.60)
    assert margin(0.5) == 0.0


@pytest.mark.parametrize("hard_negatives", [1, 3, 10, 100])
@pytest.mark.parametrize("positives", [0, 1, 5, 12])
def test_the_coarse_loss_is_equation_48_for_any_number_of_positive_cells(positives, hard_negatives):
    config = GroundingObjectiveConfig(hard_negatives=hard_negatives)
    a = 2 * torch.randn(3, 12, generator=torch.Generator().manual_seed(positives))
    y = torch.zeros(3, 12, dtype=torch.bool)
    y[:, :positives] = True
    expected = [naive_coarse(row.tolist(), marks.tolist(), config) for row, marks in zip(a, y, strict=True)]
    torch.testing.assert_close(coarse_loss(a, y, config), torch.tensor(expected))


def test_mined_negatives_count_even_where_their_hinge_is_zero():
    a, y = torch.tensor([[0.0, -9.0, -9.0, -9.0]]), torch.tensor([[True, False, False, False]])
    config = GroundingObjectiveConfig(hard_negatives=3)
    torch.testing.assert_close(coarse_loss(a, y, config), torch.tensor([2.0 * margin(0.6) / 4]))


def test_a_row_that_keeps_both_margins_costs_nothing():
    y = torch.tensor([[True, False, False]])
    assert coarse_loss(torch.where(y, 5.0, -5.0), y, PAPER).item() == 0.0


def test_the_coarse_loss_does_not_depend_on_the_order_of_cells():
    a, y = torch.randn(2, 9), torch.rand(2, 9) < 0.3
    order = torch.randperm(9)
    torch.testing.assert_close(coarse_loss(a, y, PAPER), coarse_loss(a[:, order], y[:, order], PAPER))


def test_gradients_reach_positives_and_mined_negatives_only():
    a = torch.tensor([[0.0, 3.0, 2.0, 1.0]], requires_grad=True)
    y = torch.tensor([[True, False, False, False]])
    coarse_loss(a, y, GroundingObjectiveConfig(hard_negatives=2)).sum().backward()
    assert a.grad is not None
    assert [value != 0 for value in a.grad[0].tolist()] == [True, True, True, False]


def make_scores(batch: int = 3, k: int = 4, u: int = 4) -> GroundingScores:
    generator = torch.Generator().manual_seed(2)
    candidates = torch.stack([torch.randperm(9, generator=generator)[:k] for _ in range(batch)])
    return GroundingScores(
        torch.randn(batch, 9, generator=generator),
        candidates,
        torch.randn(batch, k, u, generator=generator),
        torch.randn(batch, k, generator=generator),
    )


def naive_cross_entropy(scores: list[float], right: int) -> float:
    return -math.log(math.exp(scores[right]) / sum(map(math.exp, scores)))


def test_the_refinement_loss_is_equation_49():
    scores, sub_cell = make_scores(), torch.tensor([0, 3, 1])
    cell = scores.candidates[torch.arange(3), torch.tensor([1, 0, 3])]
    expected = [
        0.5 * naive_cross_entropy(scores.scores[row].tolist(), place)
        + 0.5 * naive_cross_entropy(scores.refined[row, place].tolist(), int(sub_cell[row]))
        for row, place in enumerate((1, 0, 3))
    ]
    torch.testing.assert_close(refine_loss(scores, cell, sub_cell), torch.tensor(expected))


def test_the_refinement_loss_does_not_depend_on_the_order_of_candidates():
    scores, sub_cell = make_scores(), torch.tensor([0, 3, 1])
    cell = scores.candidates[:, 2]
    back = GroundingScores(scores.coarse, *(part.flip(1) for part in scores[1:]))
    torch.testing.assert_close(refine_loss(scores, cell, sub_cell), refine_loss(back, cell, sub_cell))


def terms_of(scores: GroundingScores, cell: torch.Tensor, **changes):
    y = torch.zeros(len(cell), 9, dtype=torch.bool)
    y[cell >= 0, cell[cell >= 0]] = True
    config = GroundingObjectiveConfig(**{"coarse_weight": 0.5, "refine_weight": 3.0} | changes)
    return grounding_terms(scores, y, cell, torch.zeros_like(cell), refined=True, config=config), y, config


def test_the_total_is_equation_50_with_refinement_over_positive_rows():
    scores = make_scores()
    cell = torch.stack([scores.candidates[0, 0], torch.tensor(-1), scores.candidates[2, 1]])
    terms, y, config = terms_of(scores, cell)
    coarse = coarse_loss(scores.coarse, y, config).mean()
    rows = torch.tensor([0, 2])
    refine = refine_loss(GroundingScores(*(part[rows] for part in scores)), cell[rows], torch.zeros(2).long()).mean()
    torch.testing.assert_close(total(terms), 0.5 * coarse + 3.0 * refine)
    assert (terms["coarse"].count, terms["refine"].count) == (3, 2)


def test_a_batch_without_positive_rows_has_no_refinement_loss():
    scores = make_scores()
    scores.scores.requires_grad_()
    terms, _, _ = terms_of(scores, torch.tensor([-1, -1, -1]))
    assert terms["refine"].value.item() == 0.0
    assert terms["refine"].count == 0
    assert torch.isfinite(total(terms))
    terms["refine"].value.backward()
    assert scores.scores.grad is not None
    assert not scores.scores.grad.any()


def test_a_split_has_the_same_loss_however_it_is_cut():
    scores = make_scores(6)
    cell = scores.candidates[:, 0].clone()
    cell[[1, 4, 5]] = -1
    whole = pooled([terms_of(scores, cell)[0]])
    for cut in (1, 2, 5):
        parts = [slice(None, cut), slice(cut, None)]
        pieces = [terms_of(GroundingScores(*(value[part] for value in scores)), cell[part])[0] for part in parts]
        assert pooled(pieces) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("teacher_forced", [True, False])
def test_the_true_cell_is_always_a_candidate_of_a_positive_row(teacher_forced):
    a = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]] * 5)
    cell = torch.tensor([0, 1, 2, 4, -1])
    chosen = choose_candidates(a, cell, 2, teacher_forced=teacher_forced)
    assert [set(row) for row in chosen.tolist()] == [{0, 1}, {0, 1}, {0, 2}, {0, 4}, {0, 1}]


def test_teacher_forcing_puts_the_true_cell_first_and_later_it_replaces_the_weakest():
    a, cell = torch.tensor([[5.0, 4.0, 3.0, 2.0]]), torch.tensor([3])
    assert choose_candidates(a, cell, 3, teacher_forced=True).tolist() == [[3, 0, 1]]
    assert choose_candidates(a, cell, 3, teacher_forced=False).tolist() == [[0, 1, 3]]


def test_forced_and_predicted_candidates_name_the_same_cells():
    a = torch.randn(200, 9)
    cell = torch.randint(-1, 9, (200,))
    forced, predicted = (choose_candidates(a, cell, 4, teacher_forced=flag).sort(1).values for flag in (True, False))
    assert torch.equal(forced, predicted)


@pytest.mark.parametrize("teacher_forced", [True, False])
def test_more_candidates_than_cells_means_all_cells(teacher_forced):
    chosen = choose_candidates(torch.randn(2, 4), torch.tensor([2, -1]), 9, teacher_forced=teacher_forced)
    assert chosen.sort(1).values.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("key", ["p_positive", "p_negative"])
def test_a_margin_at_a_probability_of_0_or_1_is_refused(key):
    for value in (0.0, 1.0, 1.5):
        with pytest.raises(ConfigError, match=key):
            GroundingObjectiveConfig(**{key: value})
