"""What attention states are: Q of the text, K and V of the image, one row a query; no weights, no model class.

Part-level point grounding reads frozen attention from them: per chosen layer and head q_t of every text position, k_i
and v_i of every image position, after the projections and before the softmax. Two small features make the layer's own
attention complete, because its softmax also ran over the text:

    A(t, i) = s_t softmax_i(q_t · k_i / √d)

with ``s`` the share of its attention that text position t gives to the image, and ``w`` what each text position is.

Heads that share keys and values (grouped-query attention) share one entry in ``k`` and ``v``: query head h reads the
entry of ``compute["heads"]`` equal to h // ``compute["group"]``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from ...pipeline.errors import ConfigError
from ...pipeline.spec import FeatureSpec, ImageSpec, Tier, TokenLayout

FEATURES = ("q", "k", "v", "s", "w")
PADDING, TEMPLATE, WORD = 0, 1, 2  # what `w` says of a text position
NUMERICS = 1  # raise by hand when reading attention states changes their numbers
TAPS = {
    "q": "queries of the text positions",
    "k": "keys of the image positions",
    "v": "values of the image positions",
    "s": "share of each text position's attention that the image gets",
    "w": f"text positions: {PADDING} padding, {TEMPLATE} template or special, {WORD} instruction",
}
OPTIONS: Mapping[str, JsonValue] = {"layers": "all", "heads": "all"}


@dataclass(frozen=True)
class Choice:
    """Which layers and query heads are read, counted from 0 and ascending; ``group`` query heads share a key head."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    group: int = 1

    @property
    def key_heads(self) -> tuple[int, ...]:
        """The key and value heads that the chosen query heads read."""
        return tuple(sorted({head // self.group for head in self.heads}))

    def heads_of(self, feature: str) -> tuple[int, ...]:
        """The heads along a feature's second axis."""
        return self.key_heads if feature in ("k", "v") else self.heads


@dataclass(frozen=True)
class TokenSequence:
    """The token sequence a query becomes: where its image lies, how long its text is, how wide a head is."""

    grid: tuple[int, int]
    prefix: int
    text: int
    head_width: int


def choose(options: Mapping[str, JsonValue], *, layers: int, heads: int, key_heads: int) -> Choice:
    """The layers and heads that ``options`` ask for, of a network with so many.

    Raises:
        ConfigError: a layer or head that the network does not have, or none at all.
    """
    return Choice(
        layers=_numbers("layers", options["layers"], layers),
        heads=_numbers("heads", options["heads"], heads),
        group=heads // key_heads,
    )


def declare(
    feature: str,
    *,
    choice: Choice,
    sequence: TokenSequence,
    image: ImageSpec,
    tier: Tier,
    compute: Mapping[str, Any],
    words: Mapping[str, Any],
) -> FeatureSpec:
    """One attention feature.

    Args:
        feature: a name of :data:`FEATURES`.
        choice: which layers and heads.
        sequence: the positions of image and text.
        image: how frames become network inputs.
        tier: compute and storage type.
        compute: everything that changes the network's numbers; layers and heads are added here.
        words: the part of it that decides what each text position is.

    Returns:
        ``q`` (layers, heads, text, d); ``k`` and ``v`` (layers, key heads, prefix + cells, d);
        ``s`` (layers, heads, text); ``w`` (text,).
    """
    picture = TokenLayout(grid=sequence.grid, prefix=sequence.prefix)
    text = TokenLayout(grid=(0, 0), text=sequence.text)
    tap = {"tap": TAPS[feature], "attention_numerics": NUMERICS}
    if feature == "w":
        return FeatureSpec("w", "query", (sequence.text,), text, image, tier, {**words, **tap})
    heads = choice.heads_of(feature)
    tap |= {"layers": list(choice.layers), "heads": list(heads)}
    if feature in ("k", "v"):
        tap["group"] = choice.group
    stack = (len(choice.layers), len(heads))
    if feature == "s":
        return FeatureSpec("s", "query", (*stack, sequence.text), text, image, tier, {**compute, **tap})
    layout = text if feature == "q" else picture
    tokens = layout.prefix + layout.cells + layout.text
    shape = (*stack, tokens, sequence.head_width)
    return FeatureSpec(feature, "query", shape, layout, image, tier, {**compute, **tap})


def _numbers(name: str, asked: JsonValue, count: int) -> tuple[int, ...]:
    if asked == "all":
        return tuple(range(count))
    numbers = asked if isinstance(asked, list | tuple) else [asked]
    chosen = {number for number in numbers if type(number) is int and 0 <= number < count}
    if not numbers or len(chosen) != len(numbers):
        raise ConfigError(
            f"the network does not have these {name}",
            found=asked,
            expected=f'different numbers from 0 to {count - 1}, or "all"',
            remedy=f"correct the option {name}",
        )
    return tuple(sorted(chosen))
