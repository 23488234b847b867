"""What a number cost: seconds and bytes, from the store's receipts and the run folder alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from ...pipeline.errors import VisualThoughtError
from ...pipeline.place import Place
from ...pipeline.record import RunRecord
from ...pipeline.store import FeatureStore
from ...pipeline.store.listing import readable_bytes
from ...pipeline.store.receipt import Receipt, read_receipt
from ...train.checkpoint import HEAD
from ...train.journal import read_journal

UNKNOWN = "not known"


@dataclass(frozen=True)
class Extraction:
    """What one feature cost to extract.

    Args:
        feature: the feature's name for the task.
        rows: finished rows.
        bytes: of their files.
        seconds: busy seconds by stage (``decode``, ``forward``), as far as receipts say; empty if none does.
        told_rows: rows of the receipts that say seconds.
        devices: what it ran on, as the receipts say.
    """

    feature: str
    rows: int
    bytes: int
    seconds: Mapping[str, float]
    told_rows: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """What one run cost to train.

    Args:
        steps: optimiser steps in the log.
        examples: examples that the head was shown, repetitions counted.
        seconds: wall-clock time of the loop up to the last logged step, its validations included; None if the log
            does not say.
        bytes: of the run folder's checkpoints.
        device: what it ran on.
    """

    steps: int
    examples: int
    seconds: float | None
    bytes: int
    device: str


@dataclass(frozen=True)
class Cost:
    """What one run and the features it reads cost; ``missing`` says what could not be found out."""

    extractions: tuple[Extraction, ...]
    training: Training
    missing: tuple[str, ...]

    @property
    def drawn_bytes(self) -> int | None:
        """Bytes of stored features behind the examples that training drew; None if a feature's size is not known."""
        sizes = [one.bytes / one.rows for one in self.extractions if one.rows]
        if not sizes or len(sizes) < len(self.extractions):
            return None
        return round(sum(sizes) * self.training.examples)


def cost_of(run_dir: Path, record: RunRecord, place: Place, keys: Mapping[str, str]) -> Cost:
    """Gather what a run cost.

    Args:
        run_dir: the run folder.
        record: its ``run.json``.
        place: the store.
        keys: the task's feature names -> keys of the store.
    """
    missing: list[str] = []
    try:
        store = FeatureStore.open(place)
        extractions = tuple(_extraction(store, name, key) for name, key in keys.items())
    except (VisualThoughtError, OSError) as error:
        why = error.problem if isinstance(error, VisualThoughtError) else error.strerror
        missing.append(f"the cost of extraction, because the store's receipts could not be read: {why}")
        extractions = ()
    silent = [one.feature for one in extractions if not one.seconds]
    if silent:
        missing.append(f"the seconds of extracting {', '.join(silent)}, because no receipt in the store tells them")
    training = _training(run_dir, record)
    if training.seconds is None:
        missing.append("the seconds of training, because the run's log holds no pace")
    return Cost(extractions, training, tuple(missing))


def training_seconds(lines: Sequence[Mapping[str, Any]], batch_size: int) -> float | None:
    """Wall-clock seconds up to the last logged step, from the pace that the log tells of each stretch of steps.

    t = Σ_i (step_i - step_{i-1}) · batch_size / pace_i; a stretch in which a run was stopped and resumed counts whole,
    at the pace of its second half.

    Args:
        lines: lines of ``metrics.jsonl``.
        batch_size: examples a step.

    Returns:
        seconds; None if no line tells a pace.
    """
    total, before = 0.0, 0
    for line in _paced(lines):
        total += (line["step"] - before) * batch_size / line["samples_per_s"]
        before = line["step"]
    return total if before else None


def readable_seconds(seconds: float) -> str:
    """0.4 s, 27 s, 5 min 12 s, 3 h 5 min: as much as is of interest."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def size(count: int | None) -> str:
    """Bytes as people read them; what is not known is said to be."""
    return UNKNOWN if count is None else readable_bytes(count)


def _extraction(store: FeatureStore, name: str, key: str) -> Extraction:
    receipts = [
        read_receipt(store.path, array.receipt_path(part))
        for array in store.arrays()
        if array.key == key
        for part in array.finished_parts()
    ]
    told = {id(receipt): _seconds(receipt) for receipt in receipts}
    total: dict[str, float] = {}
    for seconds in told.values():
        for stage, value in seconds.items():
            total[stage] = total.get(stage, 0.0) + value
    return Extraction(
        feature=name,
        rows=sum(receipt.rows for receipt in receipts),
        bytes=sum(receipt.bytes for receipt in receipts),
        seconds=total,
        told_rows=sum(receipt.rows for receipt in receipts if told[id(receipt)]),
        devices=tuple(sorted({str(receipt.info["device"]) for receipt in receipts if "device" in receipt.info})),
    )


def _seconds(receipt: Receipt) -> dict[str, float]:
    """Seconds by stage; a receipt's information is for people and may say anything."""
    said = receipt.info.get("seconds")
    if not isinstance(said, dict):
        return {}
    return {stage: value for stage, value in said.items() if _is_positive(value)}


def _training(run_dir: Path, record: RunRecord) -> Training:
    try:
        lines = read_journal(run_dir)
    except (OSError, ValueError):  # a log that is damaged tells no cost
        lines = []
    batch_size = record.config.get("batch_size", 0)
    steps = max((line["step"] for line in lines if isinstance(line.get("step"), int)), default=0)
    return Training(
        steps=steps,
        examples=steps * batch_size,
        seconds=training_seconds(lines, batch_size),
        bytes=_bytes_below(run_dir / "checkpoints"),
        device=record.device,
    )


def _paced(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The head's training lines that tell a pace; every contender learns from the same batches at the same pace."""
    own = [line for line in lines if line.get("kind") == "train" and line.get("contender") == HEAD]
    return [line for line in own if _is_positive(line.get("samples_per_s"))]


def _is_positive(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
