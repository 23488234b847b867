"""One seed, many independent streams: nothing random is shared, nothing has a state to be saved."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(seed: int, *purpose: str | int) -> int:
    """The 63-bit seed of one purpose ("init", "head") or ("dropout", "head", 17) under the run's seed."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


@contextmanager
def own_randomness() -> Iterator[None]:
    """Keep torch's default generators as they were: layers such as dropout can draw from no other."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        yield
