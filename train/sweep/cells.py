"""From blocks to cells: every distinct setting once, whichever blocks it stands in."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...pipeline.config import build
from ...pipeline.errors import ConfigError
from ..config import TrainConfig, load_recipe
from .config import Block, SweepConfig, SweepFile


@dataclass(frozen=True)
class Cell:
    """One setting that is trained with every seed.

    Args:
        name: the folder of its runs: the first block it stands in, and its value there.
        changes: recipe keys and their values, on top of the recipe.
    """

    name: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One line of a block in the table.

    Args:
        block: the block's name.
        values: the block's keys and their values in this line.
        carried: whether the next blocks go on with it.
        cell: the name of the cell.
    """

    block: str
    values: Mapping[str, Any]
    carried: bool
    cell: str


def entries(file: SweepFile) -> tuple[list[Cell], list[Entry]]:
    """The cells of a sweep, each once, and the lines of its table, which may share them."""
    cells: list[Cell] = []
    lines: list[Entry] = []
    for block, value, changes in _settings(file):
        known = next((cell for cell in cells if dict(cell.changes) == changes), None)
        cell = known or Cell(_name(block, value, {cell.name for cell in cells}), changes)
        if known is None:
            cells.append(cell)
        carried = block.carry is not None and value == block.carry
        lines.append(Entry(block.name, block.changes(value), carried, cell.name))
    return cells, lines


def cell_config(config: SweepConfig, cell: Cell, seed: int) -> TrainConfig:
    """The config that ``vtt train`` would need to make the same run.

    Raises:
        ConfigError: an unknown key or value, named with the sweep file and the cell.
    """
    file = config.file
    mapping = copy.deepcopy(load_recipe(file.recipe))
    for key, value in cell.changes.items():
        _put(mapping, key, value, config.source)
    mapping |= {"seed": seed, "order_seed": file.order_seed, "store": config.store, "manifest": config.manifest}
    mapping |= {"out": config.out / cell.name / f"seed-{seed}", "progress": False}
    return build(TrainConfig, mapping, source=f"{config.source}, cell {cell.name} of recipe {file.recipe}")


def _settings(file: SweepFile) -> Iterator[tuple[Block, Any, dict[str, Any]]]:
    base = _by_key(dict(file.changes))
    recipe = load_recipe(file.recipe)
    for block in file.blocks:
        for value in block.values:
            yield block, value, _varied(recipe, base, block.changes(value))
        if block.carry is not None:
            base = _by_key({**base, **block.changes(block.carry)})


def _varied(recipe: Mapping[str, Any], base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """All keys that differ from the recipe: two ways to one setting come out equal."""
    merged = {**base, **changes}
    return _by_key({key: value for key, value in merged.items() if _looked_up(recipe, key) != value})


def _looked_up(recipe: Mapping[str, Any], key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = found.get(part, _NOTHING) if isinstance(found, Mapping) else _NOTHING
    return found


def _by_key(changes: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(changes.items()))


def _put(mapping: dict[str, Any], key: str, value: Any, source: str) -> None:
    *groups, last = key.split(".")
    for group in groups:
        mapping = mapping.setdefault(group, {})
        if not isinstance(mapping, dict):
            raise ConfigError(f"{source}: the key `{key}` goes through `{group}`, which holds no keys", found=mapping)
    mapping[last] = copy.deepcopy(value)


def _name(block: Block, value: Any, taken: set[str]) -> str:
    """A folder name that says what the cell is: ``layers-4``."""
    told = "x".join(_word(part) for part in (value if block.keys else [value]))
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{block.name}-{told}").strip("-").lower()
    return next(name for name in _numbered(plain) if name not in taken)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "x".join(map(_word, value)) if isinstance(value, (list, tuple)) else str(value)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


_NOTHING = object()
