"""What the paper prints in its tables 1 to 4, and the recipe a run must have to stand beside it.

Source: Hernandez Cancino Estrada, "Visual Thought Tokens", May 2026, tables 1-4 and their captions. Its data sets are
its own: numbers beside each other are of one recipe on two data sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

type Values = Mapping[str, float]
type Origin = Literal["said", "counts", "open"]

SOURCE = "Visual Thought Tokens (Hernandez Cancino Estrada, May 2026)"
LR, DIM, LAYERS = "optimizer.lr", "decoder.dim", "decoder.num_layers"
P_POSITIVE, P_NEGATIVE, GRID = "objective.p_positive", "objective.p_negative", "head.grid"
KEYS: Mapping[int, tuple[str, ...]] = {
    1: (LAYERS,),
    2: (LAYERS, GRID),
    3: (LR, DIM, LAYERS, P_POSITIVE, P_NEGATIVE),
    4: (LR, DIM, LAYERS, P_POSITIVE, P_NEGATIVE),
}
"""What tells the rows of each table apart; everything else is the recipe."""


@dataclass(frozen=True)
class Setting:
    """One setting of the paper's recipe.

    Args:
        key: of the run's config.
        value: what it must be.
        origin: ``said`` in the paper, follows from its parameter ``counts``, or ``open``: our reading of a paper that
            does not say, which the shipped recipes hold too.
    """

    key: str
    value: Any
    origin: Origin


@dataclass(frozen=True)
class Published:
    """One row of a table of the paper: what it varies and what it prints, by our metric names."""

    settings: Mapping[str, Any]
    values: Values


def _settings(origin: Origin, **values: Any) -> tuple[Setting, ...]:
    return tuple(Setting(key.replace("__", "."), value, origin) for key, value in values.items())


_ALL = _settings("open", optimizer__weight_decay=0.01, optimizer__betas=[0.9, 0.999], optimizer__grad_clip_norm=1.0)
_ALL += _settings("open", ema_decay=0.0) + _settings("counts", decoder__ffn_ratio=4.0, decoder__ffn_gate=False)
_EXPERT = _settings("open", decoder__dropout=0.1, optimizer__lr=1e-4, batch_size=8, steps=20000)
_EXPERT += _settings("open", scheduler__name="cosine", scheduler__warmup_steps=500, scheduler__final_ratio=0.0)
_DISTILL = _settings("said", decoder__dim=768, decoder__num_heads=32)
_DISTILL += _settings("counts", decoder__num_queries=850, decoder__query_positions=True)
_DISTILL += _settings("said", objective__normalise="none", objective__mse_weight=1.0)
_DISTILL += _settings("said", objective__cosine_weight=0.0, objective__smooth_l1_weight=0.0)
_DENSE = _settings("said", decoder__dim=128) + _settings("counts", decoder__query_positions=False)
_DENSE += _settings("open", decoder__num_heads=32)
_GROUND = _settings("said", decoder__num_queries=1, decoder__dropout=0.3, head__refine=True, batch_size=32, steps=60000)
_GROUND += _settings("said", objective__positive_weight=2.0, objective__hard_negatives=10, objective__refine_weight=1.0)
_GROUND += _settings("counts", head__dim=384, decoder__query_positions=False)
_GROUND += _settings("open", decoder__num_heads=32, head__name="ground", head__candidates=5, head__num_heads=8)
_GROUND += _settings("open", head__dropout=0.0, objective__coarse_weight=1.0, objective__teacher_forcing=0.2)
_GROUND += _settings("open", scheduler__name="constant", scheduler__warmup_steps=1000)

RECIPES: Mapping[int, tuple[Setting, ...]] = {
    1: _ALL + _EXPERT + _DISTILL,
    2: _ALL + _EXPERT + _DENSE,
    3: _ALL + _GROUND,
    4: _ALL + _GROUND,
}
"""The paper's recipe of each table, but for what its rows vary."""

_TABLE_1 = (
    # layers, parameters in millions, train loss, val loss
    (2, 28.34, 0.3593, 0.3422),
    (3, 37.79, 0.3425, 0.3299),
    (4, 47.24, 0.3353, 0.3221),
    (8, 85.04, 0.3176, 0.3080),
)
_TABLE_2 = (
    # layers, side of the grid, decoder and head parameters in millions, train and val MSE
    (1, 16, 5.15, 0.31, 0.0109, 0.0162),
    (1, 32, 5.25, 0.31, 0.0093, 0.0154),
    (2, 16, 5.42, 0.31, 0.0110, 0.0156),
    (2, 32, 5.52, 0.31, 0.0097, 0.0157),
    (4, 16, 5.95, 0.31, 0.0114, 0.0181),
    (4, 32, 6.04, 0.31, 0.0112, 0.0177),
    (8, 16, 7.00, 0.31, 0.0113, 0.0183),
    (8, 32, 7.10, 0.31, 0.0106, 0.0174),
)
_TABLE_3 = (
    # learning rate, dim, layers, p+, p-, parameters in millions, FP, FN, precision, recall, F_0.25, val loss
    (8e-6, 256, 2, 0.60, 0.25, 10.68, 154, 476, 0.843, 0.634, 0.827, 1.094),
    (5e-6, 256, 2, 0.60, 0.25, 10.68, 147, 481, 0.848, 0.631, 0.831, 0.936),
    (5e-6, 64, 2, 0.60, 0.25, 7.58, 164, 539, 0.823, 0.586, 0.804, 0.825),
    (5e-6, 512, 2, 0.60, 0.25, 18.49, 138, 467, 0.858, 0.641, 0.841, 1.016),
    (5e-6, 256, 1, 0.60, 0.25, 9.63, 165, 485, 0.832, 0.627, 0.816, 0.939),
    (5e-6, 256, 3, 0.60, 0.25, 11.73, 181, 439, 0.827, 0.663, 0.815, 0.940),
    (5e-6, 256, 4, 0.60, 0.25, 12.79, 137, 476, 0.858, 0.634, 0.840, 0.884),
    (5e-6, 256, 4, 0.65, 0.25, 12.79, 164, 444, 0.840, 0.659, 0.826, 0.916),
    (5e-6, 256, 4, 0.60, 0.15, 12.79, 122, 499, 0.868, 0.617, 0.848, 0.997),
)
_TABLE_4 = {
    # checkpoint: step, FP, FN, precision, recall, F_0.25, val loss
    "20k": (20000, 105, 715, 0.848, 0.451, 0.806, 0.939),
    "40k": (40000, 98, 571, 0.882, 0.561, 0.853, 0.937),
    "best": (51000, 104, 518, 0.883, 0.602, 0.859, 0.976),
    "last": (60000, 122, 499, 0.868, 0.617, 0.848, 0.997),
}
_CELLS = ("val.fp", "val.fn", "val.precision", "val.recall", "val.f_0_25", "val.loss")


def _row(number: int, settings: Sequence[Any], names: Sequence[str], values: Sequence[float]) -> Published:
    scaled = {
        name: value * 1e6 if name.startswith("size.") else value for name, value in zip(names, values, strict=True)
    }
    return Published(dict(zip(KEYS[number], settings, strict=True)), scaled)


ROWS: Mapping[int, tuple[Published, ...]] = {
    1: tuple(_row(1, row[:1], ("size.all", "train.mse", "val.mse"), row[1:]) for row in _TABLE_1),
    2: tuple(
        _row(2, (row[0], [row[1]] * 2), ("size.decoder", "size.head", "train.mse", "val.mse"), row[2:])
        for row in _TABLE_2
    ),
    3: tuple(_row(3, row[:5], ("size.all", *_CELLS), row[5:]) for row in _TABLE_3),
}
CHECKPOINTS = {
    label: Published(
        dict(zip(KEYS[4], (5e-6, 256, 4, 0.60, 0.15), strict=True)), dict(zip(("step", *_CELLS), row, strict=True))
    )
    for label, row in _TABLE_4.items()
}
"""The rows of table 4, all of the setting the paper selected, by checkpoint."""


def differing(number: int, config: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Settings of the paper's recipe that a run's flat config (``decoder.dim`` -> value) does not have."""
    return tuple(setting for setting in RECIPES[number] if not _same(config.get(setting.key), setting.value))


def published_row(number: int, config: Mapping[str, Any]) -> Published | None:
    """The paper's row of table 1, 2 or 3 with this flat config's settings; None where the recipe is another."""
    if differing(number, config):
        return None
    return next((row for row in ROWS[number] if _matches(row, config)), None)


def published_checkpoint(label: str, config: Mapping[str, Any]) -> Published | None:
    """The paper's row of table 4 (``20k``, ``40k``, ``best``, ``last``); None for a run of any other setting."""
    row = CHECKPOINTS.get(label)
    return row if row and _matches(row, config) and not differing(4, config) else None


def _matches(row: Published, config: Mapping[str, Any]) -> bool:
    return all(_same(config.get(key), value) for key, value in row.settings.items())


def _same(found: Any, wanted: Any) -> bool:
    return bool(list(found) == list(wanted)) if isinstance(found, (list, tuple)) else bool(found == wanted)
