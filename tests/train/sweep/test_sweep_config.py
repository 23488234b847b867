"""Sweep files: what is refused, and how it is said; the shipped ones hold the paper's values."""

from pathlib import Path

import pytest
import yaml

from visual_thought.pipeline.config import build
from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.sweep.cells import cell_config, entries
from visual_thought.train.sweep.config import SweepConfig, load_sweep, sweep_names

BLOCK = {"name": "LR", "key": "optimizer.lr", "values": [1e-3, 1e-4]}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"recipe": "ground", "blocks": [BLOCK]} | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seedz": [0]}, r"own\.yaml: unknown key `seedz`"),
        ({"blocks": [BLOCK | {"vals": 1}]}, r"own\.yaml: unknown key `blocks\[0\]\.vals`"),
        ({"blocks": [BLOCK | {"values": []}]}, r"own\.yaml: block `LR`: `values` is empty"),
        ({"blocks": [BLOCK | {"carry": 5.0}]}, r"own\.yaml: block `LR`: `carry` is none of its values"),
        ({"blocks": [BLOCK | {"keys": ["seed"]}]}, r"own\.yaml: block `LR`: give either `key` or `keys`"),
        (
            {"blocks": [{"name": "x", "keys": ["a.b", "c.d"], "values": [1]}]},
            r"block `x`: a value does not match `keys`",
        ),
        ({"blocks": [BLOCK, BLOCK]}, r"own\.yaml: `blocks` is empty or names one twice"),
        ({"seeds": []}, r"own\.yaml: `seeds` is empty"),
        ({"blocks": [BLOCK | {"key": "seed", "values": [1, 2]}]}, r"own\.yaml: seeds are no factor of a block"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_file_and_key(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        load_sweep(written(tmp_path, **changes))


def test_an_unknown_recipe_key_is_refused_with_file_and_cell(tmp_path):
    path = written(tmp_path, blocks=[{"name": "Layers", "key": "decoder.num_layer", "values": [1]}])
    source, file = load_sweep(path)
    config = build(
        SweepConfig, {"source": source, "file": file, "store": Path("s"), "manifest": "m", "out": "o"}, source=""
    )
    with pytest.raises(
        ConfigError, match=r"own\.yaml, cell layers-1 of recipe ground: unknown key `decoder\.num_layer`"
    ):
        cell_config(config, entries(file)[0][0], 0)


def test_a_sweep_that_does_not_exist_names_those_that_do():
    with pytest.raises(ConfigError, match="no sweep 'table9'") as refused:
        load_sweep("table9")
    assert refused.value.expected == ["table1", "table2", "table3"]


def test_base_and_seeds_can_be_changed_without_touching_the_file(tmp_path):
    _, file = load_sweep("table3", recipe="ground-world", overrides=["steps=800", "decoder.num_layers=1"], seeds=[5])
    assert (file.recipe, file.seeds) == ("ground-world", (5,))
    assert file.changes == {"decoder.num_layers": 1, "objective.p_negative": 0.25, "steps": 800}


def test_table_three_is_the_papers():
    _, file = load_sweep("table3")
    cells, lines = entries(file)
    rows = []
    for line in lines:
        changes = next(cell.changes for cell in cells if cell.name == line.cell)
        get = lambda key, default, changes=changes: changes.get(key, default)  # noqa: E731
        rows.append(
            (
                line.block,
                get("optimizer.lr", 5e-6),
                get("decoder.dim", 256),
                get("decoder.num_layers", 4),
                get("objective.p_positive", 0.60),
                get("objective.p_negative", 0.15),
                line.carried,
            )
        )
    assert rows == [
        ("LR", 8e-6, 256, 2, 0.60, 0.25, False),
        ("LR", 5e-6, 256, 2, 0.60, 0.25, True),
        ("Decoder dim", 5e-6, 64, 2, 0.60, 0.25, False),
        ("Decoder dim", 5e-6, 256, 2, 0.60, 0.25, True),
        ("Decoder dim", 5e-6, 512, 2, 0.60, 0.25, False),
        ("Layers", 5e-6, 256, 1, 0.60, 0.25, False),
        ("Layers", 5e-6, 256, 2, 0.60, 0.25, False),
        ("Layers", 5e-6, 256, 3, 0.60, 0.25, False),
        ("Layers", 5e-6, 256, 4, 0.60, 0.25, True),
        ("Margin p+", 5e-6, 256, 4, 0.65, 0.25, False),
        ("Margin p+", 5e-6, 256, 4, 0.60, 0.25, True),
        ("Margin p-", 5e-6, 256, 4, 0.60, 0.25, False),
        ("Margin p-", 5e-6, 256, 4, 0.60, 0.15, True),
    ]
    assert len(cells) == 9  # the carried rows are trained once


def test_the_other_tables_are_layers_and_grids():
    one, two = (load_sweep(name)[1] for name in ("table1", "table2"))
    assert one.blocks[0].values == (2, 3, 4, 8)
    assert two.blocks[0].keys == ("decoder.num_layers", "head.grid")
    assert [tuple(value[1]) for value in two.blocks[0].values] == [(16, 16), (32, 32)] * 4
    assert [value[0] for value in two.blocks[0].values] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert sweep_names() == ["table1", "table2", "table3"]
