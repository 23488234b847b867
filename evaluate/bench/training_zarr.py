"""What one writes first to train from Zarr arrays: a dataset class around zarr-python, behind torch's DataLoader."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ...train.state import Run


class ZarrRows(Dataset[dict[str, Tensor]]):
    """Examples as float32 features and their targets; arrays are opened where they are read.

    Args:
        paths: the Zarr array of each feature, one chunk a row, bfloat16 bits.
        rows: (n,) the row of every example in each.
        targets: the other fields, one row an example.
    """

    def __init__(
        self, paths: Mapping[str, Path], rows: Mapping[str, Int[np.ndarray, " n"]], targets: Mapping[str, Tensor]
    ) -> None:
        self.paths, self.rows, self.targets = dict(paths), dict(rows), dict(targets)
        self._arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def __getitem__(self, example: int) -> dict[str, Tensor]:
        found = {name: self._array(name)[int(rows[example])] for name, rows in self.rows.items()}
        features = {name: torch.from_numpy(bits).view(torch.bfloat16).float() for name, bits in found.items()}
        return features | {name: values[example] for name, values in self.targets.items()}

    def _array(self, name: str) -> Any:
        import zarr

        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self.paths[name], mode="r", zarr_format=3)
        return self._arrays[name]


class ZarrEpochs:
    """A DataLoader over a run's training examples, shuffled, in epochs of a few batches.

    Args:
        run: whose examples.
        paths: of its features' Zarr arrays.
        batches: batches an epoch.
        workers: processes that read; 0 reads where it trains.
        stack: ends them.
    """

    def __init__(self, run: Run, paths: Mapping[str, Path], batches: int, workers: int, stack: ExitStack) -> None:
        examples = run.data.examples
        dataset = Subset(ZarrRows(paths, examples.rows, examples.targets), run.data.splits["train"].tolist())
        size = run.config.batch_size
        self._loader: DataLoader[dict[str, Tensor]] | None = DataLoader(
            dataset,
            batch_size=size,
            sampler=torch.utils.data.RandomSampler(
                dataset, num_samples=batches * size, generator=torch.Generator().manual_seed(0)
            ),
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,  # a fork would copy threads' locks
        )
        stack.callback(self.close)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        assert self._loader is not None
        return iter(self._loader)

    def close(self) -> None:
        """Drop the loader, which ends its processes."""
        self._loader = None
