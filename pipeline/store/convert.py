"""Converting a store into another one: the other format, a smaller tier, a lossless codec.

plan (what is missing, in which tier) -> measure the channels' scale if int8 is wanted -> room on the disk -> part by
part: read whole and prove, recode, commit.

Rows, indexes and parts stay what they are, so a conversion that keeps the tier is bit for bit and can be undone. What
is there already is not made again.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt32
from pydantic import JsonValue
from tqdm import tqdm

from ..errors import Interrupted, MachineError, StoreCorrupt, StoreError
from ..interrupt import Stop, stop_on_signals
from ..manifest import DatasetManifest
from .array import ArrayRef
from .commit import commit_file, make_folders
from .conversion import (
    Conversion,
    Converted,
    ConvertedFeature,
    Job,
    Target,
    choose_arrays,
    known_scales,
    open_target,
    plan_jobs,
    refuse_same_place,
)
from .format import row_checksums
from .int8 import ChannelScale
from .layout import part_name
from .receipt import Receipt, checked_info
from .scale import Measure, measure_scale, refuse_leak, training_split
from .store import FeatureStore
from .tiers import recode
from .whole import WholePart, located, read_part
from .writer import commit_part

Scales = Mapping[str, ChannelScale | None]


def convert(
    source: Path,
    path: Path,
    target: Target,
    *,
    features: Sequence[str] = (),
    manifest: DatasetManifest | None = None,
    allow_partial: bool = False,
    progress: bool = False,
) -> Converted:
    """Convert a store, or some of its features, into another store; what is there already is not made again.

    Args:
        source: a store; never changed.
        path: the other store, new or the one of an earlier conversion.
        target: format, tier and codec.
        features: names or keys; all if empty.
        manifest: whose training episodes the scale of int8 is measured on; not needed where the target has a scale.
        allow_partial: convert the parts that are there of a source that is not finished.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: no such feature, or int8 without a manifest.
        ManifestError: no training episode in the store.
        StoreError: a tier, format or codec that cannot be, or numbers that it cannot hold (names part and row).
        StoreMismatch: the target holds the feature in another tier, format or codec.
        StoreIncomplete: the source is not finished.
        StoreCorrupt: a part of the source is damaged; nothing is written for it.
        MachineError: the missing parts do not fit the disk.
        Interrupted: SIGTERM or SIGINT; the same call resumes.
    """
    start = time.perf_counter()
    with stop_on_signals() as stop:
        refuse_same_place(source, path)
        opened, store = FeatureStore.open(source), open_target(path)
        arrays = choose_arrays(opened, features, allow_partial=allow_partial)
        measure = Measure(manifest, stop, progress)
        scales = choose_scales(opened, arrays, known_scales(store, arrays, target), target, measure)
        planned = plan_conversion(opened, path, arrays, target, scales)
        require_space(planned)
        receipts = _copy(planned, scales, stop, progress) if any(job.todo for job in planned.jobs) else {}
    return _converted(planned, receipts, time.perf_counter() - start)


def plan_conversion(
    source: FeatureStore, path: Path, arrays: Sequence[ArrayRef], target: Target, scales: Scales
) -> Conversion:
    """What is left to convert; writes nothing. Raises as :func:`~.conversion.plan_jobs`."""
    jobs = plan_jobs(source, open_target(path), arrays, target, scales, dry=True)
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return Conversion(source, path, target, jobs, shutil.disk_usage(place).free)


def require_space(planned: Conversion) -> None:
    """MachineError unless the missing parts fit the disk."""
    if planned.bytes_needed > planned.free_bytes:
        raise MachineError(
            f"the converted features do not fit the disk of {planned.path}",
            found=f"{planned.free_bytes} bytes free",
            expected=f"{planned.bytes_needed} bytes",
            remedy="free space, convert fewer --features, or put the store on a larger disk",
        )


def choose_scales(
    source: FeatureStore, arrays: Sequence[ArrayRef], known: Scales, target: Target, measure: Measure
) -> dict[str, ChannelScale | None]:
    """The scale of every feature by key: the target's, the source's, or one measured now; None outside int8.

    Raises:
        ConfigError: one has to be measured and there is no manifest.
        StoreMismatch: the target's was measured on episodes that the manifest does not train on.
    """
    scales = dict(known)
    for key in dict.fromkeys(array.key for array in arrays):
        own = [array for array in arrays if array.key == key]
        there = scales.get(key)
        if target.spec(own[0].spec).tier != "int8":
            scales[key] = None
        elif own[0].spec.tier == "int8":
            scales[key] = own[0].meta.channel_scale
        elif there is None:
            scales[key] = measure_scale(source, own, measure)
        elif measure.manifest is not None:
            refuse_leak(there, measure.manifest, training_split(source, own, measure.manifest))
    return scales


def _copy(planned: Conversion, scales: Scales, stop: Stop, progress: bool) -> dict[str, list[tuple[Receipt, Receipt]]]:
    """Convert what is missing; the receipts before and after, by key."""
    store = FeatureStore.create(planned.path)
    arrays = [job.array for job in planned.jobs]
    jobs = plan_jobs(planned.source, store, arrays, planned.target, scales, dry=False)
    todo, done = [(job, part) for job in jobs for part in job.todo], dict[str, list[tuple[Receipt, Receipt]]]()
    with closing(tqdm(desc="converting", total=len(todo), unit="part", disable=not progress)) as bar:
        for count, (job, part) in enumerate(todo):
            if stop:
                told = f"stopped by {stop.signal} after {count} of {len(todo)} parts"
                raise Interrupted(told, remedy="run the same command again to resume")
            done.setdefault(job.array.key, []).append(_copy_part(store, job, part))
            bar.update()
    return done


def _copy_part(store: FeatureStore, job: Job, part: int) -> tuple[Receipt, Receipt]:
    whole = read_part(job.array, part)
    try:
        values = recode(whole.values, job.array.spec.tier, job.plan.spec.tier, job.plan.channel_scale)
    except StoreError as error:
        raise located(error, job.array, part) from error
    if whole.frames_file is not None:
        path = store.layout.frames_file(job.plan.index_id, job.plan.spec.key, part)
        make_folders(store.layout.root, path.parent)
        commit_file(path, whole.frames_file)  # the very bytes, whatever release wrote them
    receipt = commit_part(store, job.plan, part, values, frames=whole.frames, info=_info(job, whole))
    if (receipt.row_checksums != _checksums(values)).any():
        raise StoreCorrupt(
            f"part {part_name(part)} of {job.array.key} in {store.path} was there and holds other numbers",
            found=f"sha256 {receipt.sha256}",
            remedy=f"it was not converted from {job.array.layout.root}: convert into another store",
        )
    return whole.receipt, receipt


def _info(job: Job, whole: WholePart) -> dict[str, JsonValue]:
    """What the source's receipt told people, and what this part was made from, oldest first."""
    array, before = job.array, whole.receipt.info.get("converted_from")
    made: dict[str, JsonValue] = {
        "sha256": whole.receipt.sha256,
        "format": array.format_name,
        "tier": array.spec.tier,
        "codec": array.meta.codec,
    }
    history: list[JsonValue] = [*(before if isinstance(before, list) else []), made]
    try:
        return checked_info(whole.receipt.info | {"converted_from": history})
    except StoreError:  # too long together
        return {"converted_from": [made]}


def _converted(
    planned: Conversion, receipts: Mapping[str, Sequence[tuple[Receipt, Receipt]]], seconds: float
) -> Converted:
    keys = dict.fromkeys(job.array.key for job in planned.jobs)
    features = tuple(
        _feature([job for job in planned.jobs if job.array.key == key], receipts.get(key, ())) for key in keys
    )
    return Converted(planned.source.path, planned.path, planned.target, features, seconds)


def _feature(jobs: Sequence[Job], receipts: Sequence[tuple[Receipt, Receipt]]) -> ConvertedFeature:
    missing = sum(len(job.plan.missing) for job in jobs)
    scale = jobs[0].plan.channel_scale
    return ConvertedFeature(
        key=jobs[0].array.key,
        source_tier=jobs[0].array.spec.tier,
        tier=jobs[0].plan.spec.tier,
        rows=sum(job.array.rows for job in jobs),
        parts_written=len(receipts),
        parts_reused=sum(job.plan.num_parts for job in jobs) - missing,
        parts_left=missing - sum(len(job.todo) for job in jobs),
        bytes_read=sum(before.bytes for before, _ in receipts),
        bytes_written=sum(after.bytes for _, after in receipts),
        scale=None if scale is None else f"{scale.measured_on} ({scale.rows} rows)",
    )


def _checksums(values: Shaped[np.ndarray, " rows *stored"]) -> UInt32[np.ndarray, " rows"]:
    return row_checksums(np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1))
