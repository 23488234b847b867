import numpy as np
import pytest
import torch

from visual_thought.pipeline.store.tensors import decode, decode_bf16, encode, encode_bf16

from .toys import a_spec


def test_bfloat16_goes_there_and_back_bit_for_bit():
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    assert (encode_bf16(decode_bf16(bits)) == bits).all()
    assert decode_bf16(bits).dtype == torch.bfloat16


def test_wider_numbers_are_rounded_to_the_nearest_even():
    one, step = 0x3F80, 2.0**-7
    numbers = torch.tensor([1.0, 1 + 0.49 * step, 1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.51 * step])
    assert encode_bf16(numbers).tolist() == [one, one, one, one + 2, one + 1]


@pytest.mark.parametrize("tier", ["bf16", "fp32"])
def test_tensors_that_are_views_or_have_gradients_are_stored_as_they_look(tier):
    tensor = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)).transpose(1, 2).requires_grad_()
    stored = encode(tensor, a_spec(tier=tier))
    assert stored.dtype == {"bf16": np.uint16, "fp32": np.float32}[tier]
    assert stored.shape == (4, 2, 3)
    wanted = tensor.detach().to(torch.bfloat16 if tier == "bf16" else torch.float32)
    assert torch.equal(decode(stored, a_spec(tier=tier)), wanted)
