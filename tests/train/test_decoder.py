"""The decoder: sizes that reproduce the paper's counts, and equations re-derived without the module's own code."""

import math
from itertools import pairwise

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.decoder import Attention, DecoderLayer, TokenProjection, VisualThoughtDecoder
from visual_thought.train.positions import grid_code


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def full_size(dim: int, queries: int, layers: int, **options: object) -> VisualThoughtDecoder:
    with torch.device("meta"):
        return VisualThoughtDecoder(1024, dim, queries, layers, **options)


@pytest.mark.parametrize(
    ("queries", "layers", "expected"),
    [
        (256, 1, 5_153_152),
        (256, 2, 5_417_472),
        (256, 4, 5_946_112),
        (256, 8, 7_003_392),
        (1024, 1, 5_251_456),
        (1024, 2, 5_515_776),
        (1024, 4, 6_044_416),
        (1024, 8, 7_101_696),
    ],
)
def test_the_dense_decoder_has_the_parameters_of_table_2(queries, layers, expected):
    assert count(full_size(128, queries, layers)) == expected


@pytest.mark.parametrize(("layers", "expected"), [(2, 28_340_224), (3, 37_790_464), (4, 47_240_704), (8, 85_041_664)])
def test_the_distillation_decoder_has_the_parameters_of_table_1(layers, expected):
    assert count(full_size(768, 850, layers, query_positions=True)) == expected


def test_a_layer_at_width_256_costs_what_table_3_adds_for_it():
    sizes = [count(full_size(256, 1, layers)) for layers in (1, 2, 3, 4)]
    assert [after - before for before, after in pairwise(sizes)] == [1_052_928] * 3


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match="divisible"):
        VisualThoughtDecoder(16, 20, 1, 1, num_heads=8)


def linear(layer: torch.nn.Linear, x: list[float]) -> list[float]:
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def layer_norm(x: list[float], eps: float = 1e-5) -> list[float]:
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    return [(v - mean) / math.sqrt(variance + eps) for v in x]


def gelu(x: list[float]) -> list[float]:
    return [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x]


def attend(module: Attention, queries: list[list[float]], context: list[list[float]]) -> list[list[float]]:
    width = len(queries[0]) // module.num_heads
    keys, values = [linear(module.key, c) for c in context], [linear(module.value, c) for c in context]
    out = []
    for query in queries:
        q, joined = linear(module.query, query), []
        for head in range(module.num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = [sum(a * b for a, b in zip(q[part], k[part], strict=True)) / math.sqrt(width) for k in keys]
            weights = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
            joined += [sum(w * v[part][i] for w, v in zip(weights, values, strict=True)) for i in range(width)]
        out.append(linear(module.out, joined))
    return out


def add(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    return [[x + y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)]


def test_queries_that_stand_for_cells_start_at_their_codes_and_cost_nothing():
    plain, placed = (
        VisualThoughtDecoder(4, 8, 7, 1, num_heads=2, query_positions=True, query_grid=grid) for grid in (None, (2, 3))
    )
    assert count(placed) == count(plain)
    torch.testing.assert_close(placed.query_positions[1:], grid_code(2, 3, 8))
    assert placed.query_positions[0].abs().max() < 0.2  # a token that is no cell starts as noise
    assert placed.query_positions.requires_grad


@pytest.mark.parametrize(("grid", "positions"), [((2, 4), True), ((0, 0), True), ((2, 3), False)])
def test_cells_without_a_query_or_a_table_are_refused(grid, positions):
    with pytest.raises(ConfigError, match="cannot start at the cells"):
        VisualThoughtDecoder(4, 8, 7, 1, num_heads=2, query_positions=positions, query_grid=grid)


def test_the_projection_is_equation_12():
    module = TokenProjection(4, 6)
    z = torch.randn(3, 4)
    skip = [linear(module.skip, t) for t in z.tolist()]
    branch = [linear(module.outer, gelu(linear(module.inner, layer_norm(t)))) for t in z.tolist()]
    assert module.inner.out_features == 16
    torch.testing.assert_close(module(z[None])[0], torch.tensor(add(skip, branch)))


def test_a_layer_is_equations_15_to_17_with_no_norm_around_the_cross_attention():
    torch.manual_seed(0)
    layer = DecoderLayer(8, 2, 4.0, 0.0, ffn_gate=False)
    q, z = torch.randn(3, 8).tolist(), torch.randn(5, 8).tolist()
    normed = [layer_norm(row) for row in q]
    q_bar = add(q, attend(layer.self_attention, normed, normed))
    u = add(q_bar, attend(layer.cross_attention, q_bar, z))
    ffn = [linear(layer.ffn.outer, gelu(linear(layer.ffn.inner, layer_norm(row)))) for row in u]
    actual = layer(torch.tensor([q]), torch.tensor([z]))[0]
    torch.testing.assert_close(actual, torch.tensor(add(u, ffn)), atol=1e-5, rtol=1e-5)


def test_the_order_of_the_tokens_does_not_matter_to_the_decoder():
    decoder, z = VisualThoughtDecoder(6, 8, 3, 2, num_heads=2).eval(), torch.randn(2, 7, 6)
    shuffled = z[:, torch.randperm(7)]
    torch.testing.assert_close(decoder(z), decoder(shuffled), atol=1e-6, rtol=1e-5)


def test_a_gated_layer_starts_without_its_feed_forward_branch():
    layer, q, z = DecoderLayer(8, 2, 4.0, 0.0, ffn_gate=True), torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    before = layer(q, z)
    torch.nn.init.normal_(layer.ffn.outer.weight, std=10.0)
    assert torch.equal(layer(q, z), before)


def test_dropout_acts_in_training_only():
    decoder, z = VisualThoughtDecoder(6, 8, 1, 1, num_heads=2, dropout=0.5), torch.randn(1, 7, 6)
    assert not torch.equal(decoder(z), decoder(z))
    decoder.eval()
    assert torch.equal(decoder(z), decoder(z))


@pytest.mark.parametrize("queries", [1, 4, 9])
def test_few_and_many_queries_attend_alike(queries):
    attention, q, c = Attention(8, 2), torch.randn(2, queries, 8), torch.randn(2, 5, 8)
    torch.nn.init.normal_(attention.value.bias)
    torch.nn.init.normal_(attention.key.bias)
    mask = torch.rand(2, 5) < 0.7
    mask[:, 0] = True
    split = attention._split(attention.query(q))
    torch.testing.assert_close(attention._few(split, c, mask), attention._many(split, c, mask))
    expected = [attend(attention, rows.tolist(), tokens.tolist()) for rows, tokens in zip(q, c, strict=True)]
    torch.testing.assert_close(attention(q, c), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_masked_context_is_as_good_as_absent():
    attention, q, c = Attention(8, 2), torch.randn(1, 2, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([[True, False, True, True, False]])
    torch.testing.assert_close(attention(q, c, mask), attention(q, c[:, mask[0]]))
