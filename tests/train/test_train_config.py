"""Recipes and overrides: data only, strict, and named in every error."""

import pytest

from visual_thought.pipeline import registry
from visual_thought.pipeline.config import build, to_plain
from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.config import RECIPES, TrainConfig, build_config, load_recipe, recipe_names
from visual_thought.train.heads.dense import DenseHeadConfig
from visual_thought.train.heads.ground import GroundingHeadConfig
from visual_thought.train.objectives.dense import DenseObjectiveConfig
from visual_thought.train.objectives.distill import DistillObjectiveConfig
from visual_thought.train.objectives.grounding import GroundingObjectiveConfig

SECTIONS = {
    "distill": {"objective": DistillObjectiveConfig},
    "dense": {"head": DenseHeadConfig, "objective": DenseObjectiveConfig},
    "ground": {"head": GroundingHeadConfig, "objective": GroundingObjectiveConfig},
}
PLACES = {"store": "s", "manifest": "m", "out": "o"}


def make(recipe, *overrides):
    return build_config(recipe, overrides, store="s", manifest="m", out="o")


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_a_whole_config(name):
    config = make(name)
    assert build(TrainConfig, to_plain(config), source="its own plain data") == config
    for section, cls in SECTIONS[config.task].items():
        build(cls, getattr(config, section), source=name)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_spells_out_every_key_of_its_sections(name):
    recipe = load_recipe(name)
    for section, cls in SECTIONS[recipe["task"]].items():
        assert list(recipe[section]) == list(to_plain(cls()))
    assert "  #" in (RECIPES / f"{name}.yaml").read_text()


def test_the_grounding_recipe_is_the_papers():
    config = make("ground")
    assert (config.decoder.dim, config.decoder.num_layers, config.decoder.dropout) == (256, 4, 0.3)
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.grad_clip_norm) == (5e-6, 0.01, 1.0)
    assert (config.scheduler.name, config.scheduler.warmup_steps) == ("constant", 1000)
    assert (config.steps, config.batch_size) == (60_000, 32)
    assert config.objective == {
        "p_positive": 0.60,
        "p_negative": 0.15,
        "positive_weight": 2.0,
        "hard_negatives": 10,
        "coarse_weight": 1.0,
        "refine_weight": 1.0,
        "teacher_forcing": 0.2,
    }
    assert (config.head["dim"], config.head["candidates"], config.head["num_heads"]) == (384, 5, 8)


def test_an_unknown_recipe_lists_the_ones_there_are():
    with pytest.raises(ConfigError, match="grounding") as error:
        make("grounding")
    assert "ground, ground-world" in str(error.value)


def test_a_recipe_may_be_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text((RECIPES / "ground.yaml").read_text().replace("steps: 60000", "steps: 7"))
    assert make(path).steps == 7


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("decoder.dmi=3", "decoder.dmi"),
        ("optimiser.lr=1", "did you mean `optimizer`"),
        ("steps=many", "`steps` has the wrong type"),
        ("steps=0", "steps is too small"),
        ("loader.residency=tape", "auto, disk, ram, gpu"),
        ("ema_decay=1", "ema_decay is no decay"),
        ("accumulate=33", "at most batch_size, 32"),
        ("early_stop=-1", "early_stop is too small"),
        ("compile=fast", "`compile` has the wrong type"),
        ("wandb.mode=onlin", "online, offline, disabled"),
        ("loader.window_parts=0", "loader.window_parts is too small"),
        ("loader.memory_share=1.5", "loader.memory_share is out of range"),
        ("optimizer.lr=-1", "optimizer.lr is too small"),
        ("optimizer.lr=.nan", "optimizer.lr is too small"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer.betas are no decays"),
        ("scheduler.warmup_steps=-3", "scheduler.warmup_steps is too small"),
        ("decoder.dropout=1.5", "decoder.dropout is out of range"),
        ("decoder.num_layers=0", "decoder.num_layers is too small"),
        ("decoder.num_heads=0", "decoder.num_heads is too small"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(override, said):
    with pytest.raises(ConfigError) as error:
        make("ground", override)
    assert said in str(error.value)


def test_overrides_reach_into_sections():
    config = make("ground", "decoder.dim=64", "head.dim=256", "optimizer.lr=1e-4")
    assert (config.decoder.dim, config.head["dim"], config.optimizer.lr) == (64, 256, 1e-4)


@pytest.mark.parametrize("kind", ["task", "head"])
def test_every_name_in_the_registry_can_be_loaded(kind):
    for name in registry.TABLES[kind]:
        assert callable(registry.load(kind, name))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="no head 'gruond'") as error:
        registry.load("head", "gruond")
    assert "did you mean 'ground'?" in str(error.value)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (GroundingHeadConfig, "candidates", 0),
        (GroundingHeadConfig, "num_heads", -1),
        (GroundingHeadConfig, "dropout", 2),
        (GroundingObjectiveConfig, "hard_negatives", -1),
        (GroundingObjectiveConfig, "positive_weight", -2),
        (GroundingObjectiveConfig, "teacher_forcing", 5),
    ],
)
def test_a_number_of_the_grounding_task_that_cannot_be_meant_is_refused(section, key, value):
    with pytest.raises(ConfigError, match=rf"{key} is (too small|out of range)[\s\S]*found: +{value}"):
        build(section, {key: value}, source="the test")
