"""extract(config): frames in, features out, part by part.

plan -> decode (a thread) -> preprocess and forward -> check -> gather rows into parts -> commit (a thread)
"""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import torch
from pydantic import JsonValue
from tqdm import tqdm

from ..pipeline.errors import ConfigError, Interrupted, MachineError
from ..pipeline.interrupt import Stop, stop_on_signals
from ..pipeline.record import installed_versions
from ..pipeline.store import ArrayPlan, FeatureStore, commit_part, plan_array
from .backbones import find_backbone
from .backbones.base import Backbone
from .command import remake_command
from .config import ExtractConfig, StoredFeature, StoreManifest
from .decode import DecodedBatch, decode_ahead
from .forward import Forward, Pending
from .parts import Part, Parts, PartWriter
from .plan import ExtractionPlan, compare_revisions, plan, require_space
from .skipping import leave_out_damaged
from .work import Work, schedule

Seconds = dict[str, float]


def extract(config: ExtractConfig) -> StoreManifest:
    """Run a frozen backbone over a dataset and store its features; what is stored already is not made again.

    Returns:
        Where the features are and what was done; with every part reused if nothing was left to extract.

    Raises:
        ConfigError, ManifestError, DatasetError, WeightsError: what was asked for cannot be; nothing was written.
        StoreMismatch: the store holds something else.
        MachineError: no such device, or the features do not fit the disk or the device's memory.
        Interrupted: SIGTERM or SIGINT; the same call resumes.
        VisualThoughtError: a feature is NaN or Inf (names frame and feature); finished parts stay.
    """
    start = time.perf_counter()
    with stop_on_signals() as stop:
        device = find_device(config.device)
        planned = compare_revisions(leave_out_damaged(plan(config)))
        require_space(planned)
        if planned.complete:
            return _manifest(planned, 0, {}, start)
        store = FeatureStore.create(config.store)
        work = schedule(_arrays(planned, store), planned.frames, planned.queries, config.batch_size)
        loading = time.perf_counter()
        backbone = _load(planned, device)
        load_s = time.perf_counter() - loading
        seconds = _stream(planned, store, work, backbone, stop)
    return _manifest(planned, work.frames, {"load": load_s, **seconds}, start)


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA if there is one. Raises ConfigError or MachineError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no kind of device {name!r}", expected=("auto", "cpu", "cuda", "cuda:1")) from error
    count = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= count):
        raise MachineError(
            f"this machine has no device {name}",
            found=["cpu", *(f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(count))],
            remedy="choose one of these, or auto",
        )
    return device


def _arrays(planned: ExtractionPlan, store: FeatureStore) -> list[ArrayPlan]:
    arrays = []
    for feature in planned.features:
        rows = planned.dataset.rows(feature.spec.per)
        arrays += plan_array(
            store, feature.spec, rows, same_pixels=feature.moved, store_format=planned.config.store_format
        )
    return arrays


def _load(planned: ExtractionPlan, device: torch.device) -> Backbone:
    config = planned.config
    missing = [feature.spec for feature in planned.features if feature.missing]
    return find_backbone(config.backbone).load(
        config.checkpoint, missing, device=device, revision=config.checkpoint_revision, hub_cache=config.hub_cache
    )


def _stream(planned: ExtractionPlan, store: FeatureStore, work: Work, backbone: Backbone, stop: Stop) -> Seconds:
    versions: dict[str, JsonValue] = {**installed_versions()}
    origin: dict[str, JsonValue] = {
        "host": platform.node(),
        "device": str(backbone.device),
        "versions": versions,
        "command": remake_command(planned.config),
        "cameras": planned.dataset.views(planned.specs),
    }

    def commit(part: Part) -> None:
        spent: dict[str, JsonValue] = {**part.seconds}
        info = origin | {"seconds": spent}
        commit_part(store, part.plan, part.number, part.values, frames=part.frame_table(), info=info)

    forward, parts = Forward(backbone, work, planned.config.batch_size), Parts(work.arrays)
    bar = tqdm(total=work.frames, unit="frame", disable=not planned.config.progress)
    with PartWriter(commit) as writer, bar, closing(decode_ahead(work.batches, planned.dataset.decode)) as batches:
        seconds: Seconds = {"decode": 0.0, "forward": 0.0, "write": 0.0}
        for batch in _finished(batches, forward, stop):
            for stage, spent in batch.seconds.items():
                seconds[stage] += spent
            for key, frame, values in forward.rows(batch):
                for place in work.places.get(key, ()):
                    part = parts.put(place, values, frame, batch.seconds_a_row)
                    if part is not None:
                        writer.put(part)
            seconds["write"] = writer.seconds
            bar.set_postfix(_shares(seconds, bar.format_dict["elapsed"]), refresh=False)
            bar.update(len(batch.batch.frames))
    if stop:
        raise Interrupted(
            f"stopped by {stop.signal} after {writer.written} parts", remedy="run the same command again to resume"
        )
    return seconds | {"write": writer.seconds}


def _finished(batches: Iterator[DecodedBatch], forward: Forward, stop: Stop) -> Iterator[Pending]:
    """Batches whose numbers arrived; each is taken after the next one was started."""
    before: Pending | None = None
    for batch in batches:
        if stop:
            return
        started = forward.launch(batch)
        if before is not None:
            yield forward.wait(before)
        before = started
    if before is not None and not stop:
        yield forward.wait(before)


def _shares(seconds: Mapping[str, float], elapsed: float) -> dict[str, str]:
    return {stage: f"{spent / max(elapsed, 1e-9):.0%}" for stage, spent in seconds.items()}


def _manifest(planned: ExtractionPlan, frames: int, seconds: Mapping[str, float], start: float) -> StoreManifest:
    features = tuple(
        StoredFeature(
            name=feature.spec.name,
            key=feature.spec.key,
            fingerprint=feature.spec.fingerprint,
            rows=feature.rows,
            parts_written=feature.missing,
            parts_reused=feature.parts - feature.missing,
        )
        for feature in planned.features
    )
    total = time.perf_counter() - start
    skipped = tuple(one.render() for one in planned.dataset.skipped)
    return StoreManifest(planned.config.store, features, frames, {"total": total, **seconds}, skipped)
