"""What a run reads: the store's features, the manifest, and which rows there are; and what its record says of them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int

from ..pipeline.config import to_plain
from ..pipeline.errors import ConfigError
from ..pipeline.manifest import DatasetManifest, load_manifest
from ..pipeline.record import RunRecord, command_line, installed_versions, source_commit
from ..pipeline.spec import FeatureSpec
from ..pipeline.store import FeatureStore
from ..pipeline.store.reader import RowReader
from .config import TrainConfig
from .features import making_commands, refuse_absent_features
from .nonfinite import finite_rows
from .skipped import admit
from .tasks.base import Examples


@dataclass(frozen=True)
class Inputs:
    """An open store and its manifest.

    Args:
        store: the store.
        keys: the task's feature names -> keys of the store.
        readers: an open reader of each.
        indexes: the readable rows of each, with their numbers in the column ``row``.
        manifest: episodes, cameras, splits, labels.
    """

    store: FeatureStore
    keys: Mapping[str, str]
    readers: Mapping[str, RowReader]
    indexes: Mapping[str, pa.Table]
    manifest: DatasetManifest

    @property
    def specs(self) -> dict[str, FeatureSpec]:
        """The spec of each feature."""
        return {name: reader.spec for name, reader in self.readers.items()}


@contextmanager
def open_inputs(config: TrainConfig, earlier: RunRecord | None) -> Iterator[Inputs]:
    """Open what the config names; ``earlier`` is the record of the run to resume.

    Raises:
        StoreError, ConfigError, ManifestError: it cannot be opened, a name means several features or none, or the run
            to resume is of another task.
        StoreIncomplete: a feature is only partly extracted, or without its damaged episodes, and the config does not
            allow that.
        StoreCorrupt: a feature holds NaN or infinite numbers, and the config does not leave them out.
    """
    if earlier is not None:
        refuse_other_task(earlier, config)
    store = FeatureStore.open(config.store)
    keys = resolve_features(store, config, earlier)
    manifest = load_manifest(config.manifest)
    loader = config.loader
    with ExitStack() as stack:
        readers = {
            name: stack.enter_context(store.reader(key, verify=loader.verify, allow_partial=True, engine=loader.engine))
            for name, key in keys.items()
        }
        indexes = {
            name: finite_rows(readers[name], readable_rows(store, key, readers[name]), allow_nan=loader.allow_nan)
            for name, key in keys.items()
        }
        manifest = admit(
            store,
            {key: indexes[name] for name, key in keys.items()},
            manifest,
            allow_partial=loader.allow_partial,
            allow_skipped=loader.allow_skipped,
        )
        yield Inputs(store, keys, readers, indexes, manifest)


def resolve_features(store: FeatureStore, config: TrainConfig, earlier: RunRecord | None) -> dict[str, str]:
    """The store's key of every feature the recipe names.

    Raises:
        ConfigError: the store has no such feature, or several; says what is there and how it would be made.
        StoreMismatch: its fingerprint is not the one that the recipe or the resumed run names.
    """
    refuse_absent_features(store, config)
    expected: dict[str, Any] = dict(config.fingerprints)
    if earlier is not None:
        expected |= {name: spec["compute"] for name, spec in earlier.features.items()}
    return {name: store.resolve(feature, fingerprint=expected.get(name)) for name, feature in config.features.items()}


def refuse_other_task(earlier: RunRecord, config: TrainConfig) -> None:
    """ConfigError if the run to resume learned another task; everything else is compared once the inputs are open."""
    if earlier.task != config.task:
        raise ConfigError(
            f"the run in {config.out} is of another task",
            found=f"task {earlier.task}",
            expected=f"task {config.task}, which the recipe names",
            remedy="resume it with its own recipe, or choose another --out",
        )


def readable_rows(store: FeatureStore, key: str, reader: RowReader) -> pa.Table:
    """A feature's index with the column ``row``, without the rows that a partial store lacks."""
    table = store.index(key)
    numbered = table.append_column("row", pa.array(np.arange(len(table), dtype=np.int64)))
    return numbered.filter(pa.array(reader.readable))


def describe_run(
    config: TrainConfig,
    inputs: Inputs,
    examples: Examples,
    splits: Mapping[str, Int[np.ndarray, " m"]],
    *,
    device: torch.device,
    processes: int = 1,
) -> RunRecord:
    """The record of a run that is about to start."""
    labels, arrays = inputs.manifest.labels, inputs.store.arrays()
    return RunRecord(
        task=config.task,
        seed=config.seed,
        config=to_plain(replace(config, store=config.store.absolute(), out=config.out.absolute())),
        features={name: spec.to_json() for name, spec in inputs.specs.items()},
        index_ids={name: tuple(a.index_id for a in arrays if a.key == key) for name, key in inputs.keys.items()},
        store=str(config.store.absolute()),
        manifest=to_plain(inputs.manifest)
        | {"labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest() if labels else None},
        splits=_described(splits, examples),
        device=str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})",
        processes=processes,
        command=command_line(),
        versions=installed_versions(),
        commit=source_commit(),
        made_by=making_commands(inputs.store, inputs.keys),
    )


def summary(record: RunRecord) -> dict[str, Any]:
    """What every checkpoint says of its run: all of it, so that the checkpoint's folder is enough to reload it."""
    return record.to_json()


def _described(splits: Mapping[str, Int[np.ndarray, " m"]], examples: Examples) -> dict[str, dict[str, Any]]:
    episode = examples.table["episode_index"].to_numpy()
    described: dict[str, dict[str, Any]] = {
        name: {"episodes": sorted(set(episode[rows].tolist())), "examples": len(rows)} for name, rows in splits.items()
    }
    return described | {"left_out": {"examples": examples.left_out}}
