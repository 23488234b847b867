"""What every contender makes of some examples, in one pass over the store; whatever the task."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from ..pipeline.errors import WeightsError
from ..train.config import TrainConfig
from ..train.loaded import LoadedContender
from ..train.loader import Loader
from ..train.objectives.terms import pooled
from ..train.run import pick_device
from ..train.sampling import EVALUATION_SEED, InOrder
from ..train.sources import DiskSource
from ..train.tasks.base import Arrays, Observation
from .config import EvalConfig
from .subject import Subject


@dataclass(frozen=True)
class Seen:
    """One contender on all examples that were asked for.

    Args:
        arrays: what the task keeps of every example, (n, …) by name.
        losses: loss terms over the examples, by name.
    """

    arrays: Arrays
    losses: Mapping[str, float]


def observe_all(
    subject: Subject,
    contenders: Mapping[str, LoadedContender],
    numbers: Int[np.ndarray, " m"],
    config: EvalConfig,
    *,
    finite: str,
) -> dict[str, Seen]:
    """The observations of every contender, batches shared.

    The instruction-blind control reads Z of another query of the same frame, by one permutation that is the same in
    every evaluation (:data:`~visual_thought.train.sampling.EVALUATION_SEED`).

    Args:
        subject: the open run.
        contenders: who is asked.
        numbers: example numbers.
        config: batch size, device and number format.
        finite: the array that must hold numbers.

    Raises:
        StoreError: rows that are damaged.
        WeightsError: a contender whose answers are not finite numbers.
    """
    plan, device = InOrder(numbers, config.batch_size), pick_device(config.device)
    loader = Loader(
        {name: DiskSource(reader) for name, reader in subject.inputs.readers.items()},
        subject.task.fields(subject.examples, EVALUATION_SEED),
        subject.examples.targets,
        plan,
        range(len(plan)),
        batch_size=config.batch_size,
        device=device,
    )
    seen: dict[str, list[Observation]] = {name: [] for name in contenders}
    with loader, torch.inference_mode(), number_format(config, subject.loaded.config, device):
        for loaded in loader:
            for name, found in contenders.items():
                seen[name].append(subject.task.observe(found.model, found.contender.view(loaded.batch)))
    joined = {name: _joined(observations) for name, observations in seen.items()}
    for name, whole in joined.items():
        _refuse_nonfinite(whole, finite, name, contenders[name].path)
    return joined


def number_format(config: EvalConfig, trained: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """The forward pass's number format: as told, or as the run validated itself."""
    precision = trained.precision if config.precision == "run" else config.precision
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=torch.bfloat16)


def _joined(seen: Sequence[Observation]) -> Seen:
    names = list(seen[0].arrays)
    arrays = {name: np.concatenate([observation.arrays[name] for observation in seen]) for name in names}
    return Seen(arrays, pooled(observation.terms for observation in seen))


def _refuse_nonfinite(seen: Seen, array: str, name: str, path: Path) -> None:
    if not np.isfinite(seen.arrays[array]).all():
        raise WeightsError(
            f"{path}: the answers of {name} are not finite numbers", remedy="evaluate another checkpoint"
        )
