from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from visual_thought.pipeline.config import apply_overrides, build, load_yaml, parse_yaml, to_plain
from visual_thought.pipeline.errors import ConfigError


@dataclass(frozen=True)
class Head:
    dim: int = 128
    dropout: float = 0.1
    kind: Literal["linear", "conv"] = "linear"


@dataclass(frozen=True)
class Fixed:
    rate: float


@dataclass(frozen=True)
class Cosine:
    rate: float
    warmup: int


@dataclass(frozen=True)
class Recipe:
    name: str
    head: Head = field(default_factory=Head)
    steps: int | None = None
    compile: bool = False
    out: Path | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    seeds: tuple[int, ...] = (0,)
    weights: Mapping[str, float] = field(default_factory=dict)
    limit: int | Literal["all"] = "all"
    schedule: Fixed | Cosine = field(default_factory=lambda: Fixed(1e-4))
    extra: Any = None


def error_of(mapping, cls=Recipe) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(cls, mapping, source="recipe x.yaml")
    return caught.value


def test_plain_data_becomes_nested_dataclasses():
    data = {
        "name": "a",
        "head": {"dim": 256, "kind": "conv"},
        "steps": 10,
        "out": "runs/a",
        "betas": [0, 0.5],
        "seeds": [1, 2, 3],
        "weights": {"mse": 1},
        "limit": 5,
        "schedule": {"rate": 1, "warmup": 5},
        "extra": {"anything": [1]},
    }
    recipe = build(Recipe, data, source="x")
    assert recipe == Recipe(
        name="a",
        head=Head(256, 0.1, "conv"),
        steps=10,
        out=Path("runs/a"),
        betas=(0.0, 0.5),
        seeds=(1, 2, 3),
        weights={"mse": 1.0},
        limit=5,
        schedule=Cosine(1.0, 5),
        extra={"anything": [1]},
    )
    assert type(recipe.betas[0]) is float
    assert type(recipe.weights["mse"]) is float


def test_a_built_config_survives_the_way_to_plain_data_and_back():
    recipe = build(Recipe, {"name": "a", "out": "b", "schedule": {"rate": 1, "warmup": 2}}, source="x")
    assert build(Recipe, to_plain(recipe), source="x") == recipe


def test_an_unknown_key_is_refused_and_the_nearest_known_one_named():
    error = error_of({"name": "a", "head": {"dimm": 256}})
    assert "recipe x.yaml" in str(error)
    assert "`head.dimm`" in str(error)
    assert error.remedy == "did you mean `head.dim`?"
    assert "dropout" in str(error)


def test_an_unknown_key_that_resembles_nothing_is_refused_too():
    assert error_of({"name": "a", "zzz": 1}).remedy == "remove `zzz`"


def test_a_missing_key_is_named_with_its_type():
    error = error_of({})
    assert "`name` is missing" in str(error)
    assert "`name`: str" in str(error)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"name": 1}, "`name`"),
        ({"name": None}, "`name`"),
        ({"head": 3}, "`head`"),
        ({"head": {"dim": 1.0}}, "`head.dim`"),
        ({"head": {"dim": True}}, "`head.dim`"),
        ({"head": {"dim": "256"}}, "`head.dim`"),
        ({"head": {"dropout": True}}, "`head.dropout`"),
        ({"head": {"dropout": "high"}}, "`head.dropout`"),
        ({"head": {"kind": "convv"}}, "`head.kind`"),
        ({"compile": 1}, "`compile`"),
        ({"steps": "many"}, "`steps`"),
        ({"out": 5}, "`out`"),
        ({"betas": [0.9]}, "`betas`"),
        ({"betas": 0.9}, "`betas`"),
        ({"seeds": [1, "2"]}, "`seeds[1]`"),
        ({"weights": [1]}, "`weights`"),
        ({"weights": {"mse": "x"}}, "`weights.mse`"),
        ({"weights": {1: 1.0}}, "`weights (a key)`"),
        ({"limit": "none"}, "`limit`"),
        ({"schedule": {"rate": "x", "warmup": 1}}, "`schedule.rate`"),
        ({"schedule": 3}, "`schedule`"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_dotted_key(data, key):
    error = error_of({"name": "a"} | data)
    assert key in error.problem
    assert error.expected
    assert error.found


def test_a_misspelt_choice_names_the_nearest():
    assert error_of({"name": "a", "head": {"kind": "lineer"}}).remedy == "did you mean linear?"


def test_overrides_are_read_as_yaml_and_leave_the_original_alone():
    original = {"head": {"dim": 128}, "seeds": [0]}
    changed = apply_overrides(
        original, ["head.dim=256", "head.dropout=1e-1", "schedule.rate=3", "seeds=[1, 2]", "out=null", "name=a=b"]
    )
    assert changed == {
        "head": {"dim": 256, "dropout": 0.1},
        "seeds": [1, 2],
        "schedule": {"rate": 3},
        "out": None,
        "name": "a=b",
    }
    assert original == {"head": {"dim": 128}, "seeds": [0]}


@pytest.mark.parametrize("override", ["head.dim", "=3", "head..dim=3", ".dim=3", "seeds.a=3", "head.dim=[1"])
def test_an_override_that_cannot_be_meant_is_refused(override):
    with pytest.raises(ConfigError, match="override"):
        apply_overrides({"seeds": [0]}, [override])


def test_a_misspelt_override_is_caught_when_the_config_is_built():
    error = error_of(apply_overrides({"name": "a"}, ["heat.dim=3"]))
    assert error.remedy == "did you mean `head`?"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("2E3", 2000.0), ("-1.5e+2", -150.0), (".5e1", 5.0), ("1.5", 1.5), ("12", 12), ("e4", "e4")],
)
def test_numbers_in_scientific_notation_are_numbers(text, value):
    assert parse_yaml(text, source="x") == value
    assert type(parse_yaml(text, source="x")) is type(value)


def test_a_key_given_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nhead:\n  dim: 1\n  dim: 2\n")
    with pytest.raises(ConfigError, match=r"r\.yaml line 4.*`dim` is given twice"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "line 2"),
        ("- 1\n", "no mapping"),
        ("a: !!python/name:os.system\n", "line 1"),
        ("\x00", "YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, said):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_yaml(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_yaml(tmp_path / "absent.yaml")


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "r.yaml") == {}
