"""Tiny checkpoints of every kind, in their own file formats, with random weights."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from qwen_toys import write_qwen

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 56, "patch_size": 14}


@pytest.fixture(scope="session")
def write_dinov2() -> Callable[..., Path]:
    """``write_dinov2(folder, kind="", registers=0, **config)``: a tiny DINOv2 (model or ``ForImageClassification``)."""
    import transformers

    def write(folder: Path, kind: str = "Model", registers: int = 0, **config: Any) -> Path:
        name = "Dinov2WithRegisters" if registers else "Dinov2"
        more = {"num_register_tokens": registers} if registers else {}
        shape = getattr(transformers, f"{name}Config")(**TINY | config | more)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, name + kind)(shape)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=0.2)
        model.save_pretrained(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def dinov2(write_dinov2: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv2 of two layers with positions for 4 x 4 patches."""
    return write_dinov2(tmp_path_factory.mktemp("weights") / "dinov2")


@pytest.fixture(scope="session")
def dinov2_with_registers(write_dinov2: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with three registers."""
    return write_dinov2(tmp_path_factory.mktemp("weights") / "registers", registers=3)


@pytest.fixture(scope="session")
def cedirnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow random CeDiRNet without localiser, as the conversion leaves it."""
    from safetensors.torch import save_file

    from visual_thought.extract.backbones.cedirnet.network import CeDiRNetDetector, DetectorShape

    folder = tmp_path_factory.mktemp("weights") / "cedirnet"
    folder.mkdir()
    shape = DetectorShape((32, 64, 128, 256), (1, 1, 1, 1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(CeDiRNetDetector(shape).state_dict(), folder / "model.safetensors")
    config = {"kind": "cedirnet-3dof", "detector": asdict(shape), "localiser": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def qwen_vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL of three layers."""
    with warnings.catch_warnings():  # of transformers' dependencies, while they are imported
        warnings.simplefilter("ignore")
        return write_qwen(tmp_path_factory.mktemp("weights") / "qwen")


@pytest.fixture
def changed_qwen(qwen_vl: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies of the tiny Qwen2.5-VL with an edited config.json: ``changed_qwen(lambda config: …)``."""

    def make(edit: Callable[[dict[str, Any]], object] = lambda config: None) -> Path:
        folder = tmp_path / "changed-qwen"
        shutil.copytree(qwen_vl, folder)
        config = json.loads((folder / "config.json").read_text())
        edit(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture(scope="session")
def quiet_transformers() -> None:
    """transformers' dependencies warn while they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchvision  # noqa: F401
        from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: F401
