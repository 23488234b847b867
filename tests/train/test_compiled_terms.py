"""The training loss through torch.compile."""

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from grounding_toys import config_for
from safetensors import safe_open

from visual_thought.pipeline.errors import MachineError
from visual_thought.train.journal import read_journal
from visual_thought.train.loaded import load_run
from visual_thought.train.run import train

CALM = {"decoder": {"dim": 16, "num_layers": 1, "num_heads": 2}, "log_freq": 1, "controls": []}  # no dropout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the compiler warns of is not about us
def test_without_a_compiler_the_error_says_so(toys_once, tmp_path):
    nowhere = {"cpp.cxx": (str(tmp_path / "no-compiler"),), "force_disable_caches": True}
    options = {"features": {"z": "z"}, "head": {"dim": 16, "refine": False}, "controls": ["linear_probe"]}
    with torch._inductor.config.patch(nowhere), pytest.raises(MachineError, match="fails here") as error:
        train(config_for(toys_once, str(tmp_path / "run"), **options, compile=True))
    assert "compile=false" in str(error.value)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the compiler takes minutes on a busy machine
@pytest.mark.filterwarnings("ignore")  # what the compiler warns of is not about us
def test_a_compiled_run_learns_what_a_plain_one_learns_and_its_checkpoints_do_not_know(toys_once, tmp_path):
    train(config_for(toys_once, str(tmp_path / "plain"), **CALM))
    train(config_for(toys_once, str(tmp_path / "compiled"), **CALM, compile=True))
    plain, compiled = (
        [line["loss"] for line in read_journal(tmp_path / name) if line["kind"] == "train"]
        for name in ("plain", "compiled")
    )
    assert compiled == pytest.approx(plain, rel=1e-3)
    with safe_open(tmp_path / "compiled" / "last" / "model.safetensors", "pt") as file:
        assert not any("_orig_mod" in name for name in file.keys())  # noqa: SIM118 no mapping
    assert load_run(tmp_path / "compiled").model is not None
