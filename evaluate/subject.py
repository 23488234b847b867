"""A finished run beside the rows it is judged on: the run folder, the store's features and the labels."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from ..pipeline.config import build
from ..pipeline.errors import ConfigError, ManifestError, StoreError, StoreMismatch
from ..pipeline.manifest import DatasetManifest, load_manifest
from ..pipeline.place import parse_place
from ..pipeline.record import RunRecord
from ..pipeline.store import FeatureStore
from ..train.inputs import Inputs, readable_rows
from ..train.loaded import LoadedRun, load_run
from ..train.nonfinite import finite_rows
from ..train.run import pick_device, split_examples
from ..train.skipped import admit
from ..train.tasks.base import Examples, Task
from .config import EvalConfig
from .folders import refuse_folder_of_runs


@dataclass(frozen=True)
class Subject:
    """One run, ready to be judged.

    Args:
        loaded: the run's models and record.
        task: its task.
        inputs: the open store and the manifest.
        examples: everything that can be judged and has store rows, in one fixed order.
        splits: example numbers of ``train``, ``val`` and ``test``.
        notes: what differs from the time of training.
    """

    loaded: LoadedRun
    task: Task
    inputs: Inputs
    examples: Examples
    splits: Mapping[str, Int[np.ndarray, " m"]]
    notes: tuple[str, ...]


@contextmanager
def open_subject(config: EvalConfig, run_dir: Path) -> Iterator[Subject]:
    """Open a run folder, its store and its labels, whatever its task.

    Raises:
        ConfigError: no run, or no such checkpoint.
        WeightsError: the checkpoint is damaged.
        StoreError: the store is gone or incomplete; StoreMismatch, field by field, if its features are others.
        ManifestError: labels that contradict themselves, an empty split, or a split that the run trained on.
    """
    refuse_folder_of_runs(run_dir)
    loaded = load_run(run_dir, config.checkpoint, device=str(pick_device(config.device)))
    manifest = _manifest(config, loaded.record)
    store = _open_store(config, loaded.record)
    keys = _features(loaded, store)
    with ExitStack() as stack:
        readers = {name: stack.enter_context(store.reader(key, allow_partial=True)) for name, key in keys.items()}
        loader = loaded.config.loader
        indexes = {
            name: finite_rows(readers[name], readable_rows(store, key, readers[name]), allow_nan=loader.allow_nan)
            for name, key in keys.items()
        }
        rows_of = {key: indexes[name] for name, key in keys.items()}
        manifest = admit(
            store, rows_of, manifest, allow_partial=loader.allow_partial, allow_skipped=loader.allow_skipped
        )
        examples = loaded.task.examples(manifest, indexes)
        splits = split_examples(manifest, examples, loaded.config)
        _refuse_split(config.split, splits, examples, loaded.record)
        inputs = Inputs(store, keys, readers, indexes, manifest)
        notes = tuple(_notes(manifest, examples, loaded.record))
        yield Subject(loaded, loaded.task, inputs, examples, splits, notes)


def examples_sha256(subject: Subject, split: str) -> str:
    """What a split's examples are, labels included: two runs with the same were judged on the same rows."""
    table = subject.examples.table.take(pa.array(subject.splits[split])).replace_schema_metadata().combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _open_store(config: EvalConfig, record: RunRecord) -> FeatureStore:
    """The store given, or the one the run read; where it is gone, what to do about it."""
    try:
        return FeatureStore.open(parse_place(config.store or record.store, cache=config.store_cache))
    except StoreError as error:
        if type(error) is not StoreError or error.remedy:
            raise
        made = " ".join(f"`{line}`" for line in dict.fromkeys(record.made_by.values()))
        remedy = "say where it is now with --store" + (f", or extract it again: {made}" if made else "")
        raise StoreError(error.problem, found=error.found, expected=error.expected, remedy=remedy) from None


def _features(loaded: LoadedRun, store: FeatureStore) -> dict[str, str]:
    """The run's features in a store; where it is another store, that the run's own is to be given."""
    try:
        return loaded.features_in(store)
    except (ConfigError, StoreMismatch) as error:
        made = " ".join(f"`{line}`" for line in dict.fromkeys(loaded.record.made_by.values()))
        again = f", or extract what it lacks: {made}" if made else ""
        error.remedy = f"give the store that the run was trained on, {loaded.record.store}, with --store{again}"
        raise


def _manifest(config: EvalConfig, record: RunRecord) -> DatasetManifest:
    """The manifest as it was when the run was trained, unless another one is given."""
    if config.manifest is not None:
        manifest = load_manifest(config.manifest)
    else:
        known = {key: value for key, value in record.manifest.items() if key != "labels_sha256"}
        manifest = build(DatasetManifest, known, source="run.json, manifest")
    return replace(manifest, root=config.root) if config.root else manifest


def _refuse_split(
    split: str, splits: Mapping[str, Int[np.ndarray, " m"]], examples: Examples, record: RunRecord
) -> None:
    """ManifestError for an empty split, or a test split with episodes that the run was trained or chosen on."""
    if not len(splits[split]):
        raise ManifestError(
            f"the split `{split}` holds no example",
            found={name: len(found) for name, found in splits.items() if name != "train_eval"},
            remedy="evaluate another split, or label and extract episodes of this one",
        )
    if split != "test":
        return
    tested = set(examples.table["episode_index"].to_numpy()[splits[split]].tolist())
    for other in ("train", "val"):
        shared = sorted(tested & set(record.splits[other]["episodes"]))
        if shared:
            raise ManifestError(
                f"the test split holds episodes that were in the run's {other} split",
                found=shared,
                expected="episodes that the run has never seen",
                remedy="evaluate with the manifest the run was trained with",
            )


def _notes(manifest: DatasetManifest, examples: Examples, record: RunRecord) -> Iterator[str]:
    if examples.left_out:
        yield f"{examples.left_out} labelled rows are not in the store and were left out"
    if manifest.labels is not None:
        found = hashlib.sha256(manifest.labels.read_bytes()).hexdigest()
        if found != record.manifest["labels_sha256"]:
            yield f"the labels {manifest.labels} are not the ones the run was trained on"
