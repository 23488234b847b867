"""What every task asks of its config and of its features before it starts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...pipeline.config import nearest
from ...pipeline.errors import ConfigError
from ...pipeline.spec import FeatureSpec
from ..config import DecoderConfig

LEFT_OPEN = (0, (0, 0), None)
"""What a recipe writes for a size of the decoder that the task prescribes."""


def known_controls(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The controls' names; ConfigError for one that the task has not."""
    for name in names:
        if name not in known:
            meant = nearest(name, known)
            raise ConfigError(
                f"there is no control {name!r}",
                expected=known,
                remedy=f"did you mean {meant}?" if meant else None,
            )
    return tuple(names)


def refuse_unknown(specs: Mapping[str, FeatureSpec], known: Sequence[str]) -> None:
    """ConfigError for a feature that the task does not read."""
    unknown = sorted(set(specs) - set(known))
    if unknown:
        raise ConfigError("the task reads no such feature", found=unknown, expected=known)


def feature(specs: Mapping[str, FeatureSpec], name: str, per: str, *, axes: int) -> FeatureSpec:
    """The spec of a feature that the task needs; ConfigError if it is missing or of another shape."""
    if name not in specs:
        raise ConfigError(
            f"the task needs the feature `{name}`", found=list(specs), remedy=f"add `{name}: {name}` to features"
        )
    spec = specs[name]
    if spec.per != per or len(spec.shape) != axes:
        raise ConfigError(
            f"the feature {spec.key} cannot serve as `{name}`",
            found=f"one row a {spec.per}, shape {spec.shape}",
            expected=f"one row a {per}, {axes} axes",
        )
    return spec


def refuse_section(section: Mapping[str, Any], name: str) -> None:
    """ConfigError for a section that the task has no use for."""
    if section:
        raise ConfigError(f"the task has no `{name}`", found=sorted(section), remedy=f"remove `{name}` from the recipe")


def sized(
    decoder: DecoderConfig,
    *,
    why: str,
    num_queries: int | None = None,
    dim: int | None = None,
    grid: tuple[int, int] | None = None,
) -> DecoderConfig:
    """The decoder with the sizes that the task prescribes; 0 in the recipe takes them, another number must agree.

    Args:
        decoder: as the recipe says.
        why: the task prescribes what it does.
        num_queries: what it prescribes, if anything.
        dim: likewise.
        grid: likewise, rows and columns of the cells that the last queries stand for.

    Raises:
        ConfigError: the recipe names another size, or leaves one open that the task does not prescribe.
    """
    prescribed = {"num_queries": num_queries, "dim": dim, "query_grid": grid}
    left_open = (0, (0, 0), None)
    wrong = {
        name: size for name, size in prescribed.items() if size and getattr(decoder, name) not in (*left_open, size)
    }
    if wrong:
        raise ConfigError(
            "the decoder's sizes are not the task's",
            found=[f"decoder.{name} {getattr(decoder, name)}" for name in wrong],
            expected=[f"decoder.{name} {size}" for name, size in wrong.items()],
            remedy=f"{why}: set them to 0, and the task takes its own",
        )
    result = replace(
        decoder,
        num_queries=num_queries or decoder.num_queries,
        dim=dim or decoder.dim,
        query_grid=decoder.query_grid and (grid or decoder.query_grid),
    )
    for name in ("num_queries", "dim"):
        if getattr(result, name) < 1:
            raise ConfigError(f"decoder.{name} is too small", found=getattr(result, name), expected="at least 1")
    return result
