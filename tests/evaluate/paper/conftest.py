"""Real sweeps and runs of all three tasks, a few steps long, trained once a session. Tests that change one copy it."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

sys.path.append(str(Path(__file__).parents[2] / "train"))  # where the toy stores of experts are made

from visual_thought.pipeline.config import build
from visual_thought.train.run import train
from visual_thought.train.sweep.config import SweepConfig, load_sweep
from visual_thought.train.sweep.run import sweep

from ..toy_run import RECIPE, make_toy, train_config

SHORT = {"steps": 12, "eval_freq": 4, "log_freq": 4, "eval_train_rows": 8}
GROUND_BLOCKS = [
    {"name": "LR", "key": "optimizer.lr", "values": [1e-2, 3e-2], "carry": 1e-2},
    {"name": "Margin p-", "key": "objective.p_negative", "values": [0.25, 0.15], "carry": 0.15},
]
LAYER_BLOCKS = [{"name": "Layers", "key": "decoder.num_layers", "values": [2, 1]}]


def run_sweep(folder, store, manifest, recipe, blocks, seeds):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"recipe": "recipe.yaml", "blocks": blocks, "seeds": seeds}))
    source, content = load_sweep(folder / "sweep.yaml")
    values = {"source": source, "file": content, "store": store, "manifest": str(manifest), "out": folder / "out"}
    done = sweep(build(SweepConfig, values | {"progress": False, "vectorise": "never"}, source="the test"))
    assert not done.failed
    return done.out


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    make_toy(folder)
    return folder


@pytest.fixture(scope="session")
def swept_once(toy, tmp_path_factory):
    """A grounding sweep: two blocks, three settings, two seeds."""
    recipe = RECIPE | SHORT | {"objective": {"p_negative": 0.25}}
    return run_sweep(tmp_path_factory.mktemp("ground"), toy / "store", toy / "tiny.yaml", recipe, GROUND_BLOCKS, [0, 1])


@pytest.fixture
def swept(swept_once, tmp_path):
    return shutil.copytree(swept_once, tmp_path / "swept", symlinks=True)


@pytest.fixture(scope="session")
def experts_once(tmp_path_factory):
    """``distill`` and ``dense``: a sweep and a run of the other two tasks; never change them."""
    from expert_toys import RECIPES, expert_config, make_experts

    folder = tmp_path_factory.mktemp("experts")
    make_experts(folder)
    (folder / "sweep").mkdir()
    out = run_sweep(folder / "sweep", folder / "store", folder / "toys.yaml", RECIPES["distill"], LAYER_BLOCKS, [0])
    out.rename(folder / "distill")
    train(expert_config("dense", folder, "dense"))
    return folder


@pytest.fixture(scope="session")
def untrained_once(toy, tmp_path_factory):
    """The sweep's last setting on another backbone's features of the same frames."""
    from ..toy_run import make_store

    folder = tmp_path_factory.mktemp("untrained")
    make_store(folder / "store", numerics=2)
    places = {"store": folder / "store", "out": folder / "run", "seed": 0, "order_seed": 0}
    train(train_config(toy, **(SHORT | places | {"objective": {"p_negative": 0.15}})))
    return folder / "run"
