"""The README's head of twenty lines, taken from the README itself."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from visual_thought.pipeline.spec import TokenLayout
from visual_thought.train.heads.ground import GroundingHeadConfig, GroundingShapes

README = Path(__file__).parents[3] / "README.md"
NAME = "visual_thought.train.heads.readme_cosine"


@pytest.fixture
def module() -> ModuleType:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (source,) = [block for block in blocks if "class CosineHead" in block]
    made = ModuleType(NAME)
    made.__spec__ = importlib.util.spec_from_loader(NAME, loader=None)
    made.__package__ = NAME.rpartition(".")[0]
    sys.modules[NAME] = made
    try:
        exec(compile(source, str(README), "exec"), made.__dict__)
        yield made
    finally:
        del sys.modules[NAME]


def test_the_readme_head_is_at_most_twenty_lines_and_learns(module: ModuleType) -> None:
    shapes = GroundingShapes(
        dim=8, d_vlm=12, layout=TokenLayout((3, 3), 1, 4), d_fine=None, fine_grid=None, input_size=(96, 96)
    )
    head = module.CosineHead(shapes, GroundingHeadConfig(refine=False))
    generator = torch.Generator().manual_seed(0)
    tau, z = torch.randn(5, 8, generator=generator), torch.randn(5, 14, 12, generator=generator)
    coarse = head.coarse(tau, z)
    assert coarse.shape == (5, 9)
    query = head.to_query(tau)
    expected = 10 * torch.cosine_similarity(query[2], z[2, 1 + 4], dim=0)
    torch.testing.assert_close(coarse[2, 4], expected)
    assert head.refine(tau, coarse, None, coarse.topk(3).indices).scores.shape == (5, 3)
    coarse.sum().backward()
    assert head.to_query.weight.grad is not None
