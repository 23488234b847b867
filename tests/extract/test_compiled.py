import pytest
import torch

from visual_thought.extract.backbones.base import FrameBatch
from visual_thought.extract.backbones.xvla import describe, load
from visual_thought.extract.compiled import CompiledBackbone
from visual_thought.pipeline.errors import MachineError

pytestmark = pytest.mark.filterwarnings("ignore")  # what the compiler warns of is not about us


@pytest.fixture
def backbone(xvla):
    return load(str(xvla), describe(str(xvla), dtype="fp32", image_size=(28, 28)), device=torch.device("cpu"))


class Drifting:
    """A backbone whose second answer is another one than its first."""

    def __init__(self, backbone):
        self.specs, self.device, self._calls = backbone.specs, backbone.device, 0

    @torch.compiler.disable
    def encode_frames(self, pixels):
        self._calls += 1
        return FrameBatch({"r": torch.full((len(pixels), 2), float(self._calls))}, None)


@pytest.mark.slow
def test_numbers_that_the_compiler_changed_are_refused(backbone):
    with pytest.raises(MachineError, match=r"makes other numbers \(r\)"):
        CompiledBackbone(Drifting(backbone)).encode_frames(torch.zeros(2, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the compiler takes minutes on a busy machine
def test_a_compiled_backbone_makes_the_same_features_for_batches_of_any_size(backbone):
    compiled = CompiledBackbone(backbone)
    with torch.inference_mode():
        for count in (4, 4, 3, 1):
            pixels = torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(count))
            found, plain = compiled.encode_frames(pixels), backbone.encode_frames(pixels)
            torch.testing.assert_close(found.features["r"], plain.features["r"], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(found.state, plain.state, rtol=1e-4, atol=1e-4)
