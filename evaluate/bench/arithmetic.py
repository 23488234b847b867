"""How many floating-point operations some work takes, as torch counts matrix products and convolutions."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

ATEN = torch.ops.aten


def count_flops(work: Callable[[], object]) -> int:
    """Multiplications and additions of what ``work`` runs, forward and backward; sums, norms and copies are free."""
    attention = {
        ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
        ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        work()
    return int(counter.get_total_flops())


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Torch's own table lacks its attention on the CPU."""
    return int(sdpa_flop_count(q, k, v))


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v))
