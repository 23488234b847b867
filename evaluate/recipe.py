"""What makes two runs the same but for their seed: settings, and the data that they were trained on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ..pipeline.record import RunRecord
from ..train.config import TrainConfig

SEEDS = ("seed", "order_seed")
SILENT = (
    *SEEDS, "out", "store", "manifest", "device", "progress", "resume", "tensorboard", "wandb", "loader", "features",
    "fingerprints", "controls", "log_freq", "save_freq", "eval_freq", "keep_last", "eval_batch_size", "eval_train_rows",
    "compile", "accumulate", "early_stop", "task",
)  # fmt: skip
"""Keys of a config that do not make it another setting."""
DEFAULTS = {field.name: field.default for field in fields(TrainConfig) if isinstance(field.default, (int, float, str))}
"""What a run meant that was recorded before a key was known."""
SPLITS = ("train", "val", "test")
"""The splits that belong to the data; which training examples a validation scores is drawn by seed."""


def flat_config(record: RunRecord) -> dict[str, Any]:
    """The config, flat: ``decoder.dim`` -> value."""
    return {**DEFAULTS, **dict(flattened(record.config))}


def settings_of(record: RunRecord) -> dict[str, Any]:
    """The flat config without what says where, how fast or with which seed."""
    return {key: value for key, value in flat_config(record).items() if key.partition(".")[0] not in SILENT}


def data_of(record: RunRecord) -> str:
    """A fingerprint of dataset, labels and the episodes of every split."""
    told = {key: record.manifest.get(key) for key in ("repo_id", "revision", "labels_sha256")}
    told["episodes"] = {name: record.splits[name].get("episodes") for name in SPLITS if name in record.splits}
    return _hashed(told)


def recipe_of(record: RunRecord) -> str:
    """A fingerprint of what a run was trained by and on, all but the seed: its settings, data and features."""
    return _hashed([record.task, settings_of(record), data_of(record), record.fingerprints])


def _hashed(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as ``decoder.dim`` -> value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
