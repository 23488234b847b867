"""extract(config): frames in, features out, part by part.

plan -> space -> load -> stream (see stream.py); what is stored already is not made again
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from pydantic import JsonValue

from ..pipeline.errors import Interrupted
from ..pipeline.interrupt import stop_on_signals
from ..pipeline.record import installed_versions
from ..pipeline.store import ArrayPlan, FeatureStore, plan_array
from .batch_size import find_batch_size
from .command import remake_command
from .config import ExtractConfig, StoredFeature, StoreManifest
from .described import load_backbones
from .devices import find_device
from .plan import ExtractionPlan, compare_revisions, plan
from .share import take_share
from .skipping import leave_out_damaged
from .space import require_space
from .stream import Beat, pace_of, quiet, stream
from .work import schedule


def extract(config: ExtractConfig, *, beat: Beat = quiet) -> StoreManifest:
    """Run a frozen backbone over a dataset and store its features; what is stored already is not made again.

    Args:
        config: what, from where, into which store.
        beat: called at every sign of progress, from any thread, with the frames run since the last one.

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
        planned = compare_revisions(leave_out_damaged(plan(config), beat), beat)
        require_space(planned)
        if planned.complete:
            return _manifest(planned, 0, {}, start)
        store = FeatureStore.create(config.store)
        arrays = _arrays(planned, store)
        loading = time.perf_counter()
        backbones = load_backbones(planned.backbones, planned.missing, device=device, config=config)
        load_s = time.perf_counter() - loading
        beat(0)
        batch_size = find_batch_size(planned, backbones)
        work = schedule(arrays, planned.frames, planned.queries, batch_size)
        done = stream(
            work,
            backbones,
            store=store,
            decode=planned.dataset.decode,
            origin=_origin(planned, device, batch_size),
            pace=pace_of(config, device, batch_size, beat),
            stop=stop,
        )
        if stop:
            raise Interrupted(
                f"stopped by {stop.signal} after {done.parts} parts", remedy="run the same command again to resume"
            )
    return _manifest(planned, work.frames, {"load": load_s, **done.seconds}, start)


def _arrays(planned: ExtractionPlan, store: FeatureStore) -> list[ArrayPlan]:
    arrays = []
    for feature in planned.features:
        rows = planned.dataset.rows(feature.spec.per)
        arrays += plan_array(
            store, feature.spec, rows, same_pixels=feature.moved, store_format=planned.config.store_format
        )
    return take_share(arrays, planned.config.part)


def _origin(planned: ExtractionPlan, device: torch.device, batch_size: int) -> dict[str, JsonValue]:
    """What every receipt says of where its part was made, and how to make it again."""
    named = [replace(one.backbone, features=tuple(spec.name for spec in one.specs)) for one in planned.backbones]
    config = replace(planned.config, backbones=tuple(named), features=None, expect_fingerprint={})
    versions: dict[str, JsonValue] = {**installed_versions()}
    return {
        "host": platform.node(),
        "device": str(device),
        "versions": versions,
        "batch_size": batch_size,
        "command": remake_command(config, batch_size),
        "cameras": planned.dataset.views(planned.specs),
    }


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
