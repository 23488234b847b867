"""A plan for people and as plain data."""

from typing import Any

from .measure import Estimate
from .plan import ExtractionPlan, FeaturePlan
from .space import human_bytes, room_for


def render(planned: ExtractionPlan, estimate: Estimate | None = None) -> str:
    """A plan as text for people."""
    queries = "" if planned.queries is None else f", {planned.queries.num_rows} queries"
    share = "" if planned.config.part is None else ", of which part {} of {}:".format(*planned.config.part)
    lines = [f"{planned.dataset.manifest.name}: {planned.dataset.frames.num_rows} frames{queries}{share}"]
    for feature in planned.features:
        lines += _feature_lines(feature)
    lines.append(f"  to write {human_bytes(planned.bytes_missing)}, free {human_bytes(planned.free_bytes)}")
    if planned.bytes_missing > room_for(planned):
        lines.append("  it does not fit: the extraction would not start")
    if estimate is not None:
        lines.append(estimate.render())
    if planned.complete:
        lines.append("  nothing to extract")
    return "\n".join(lines)


def plan_json(planned: ExtractionPlan, estimate: Estimate | None = None) -> dict[str, Any]:
    """A plan as a plain dictionary."""
    return {
        "store": str(planned.config.store),
        "frames": planned.dataset.frames.num_rows,
        "queries": None if planned.queries is None else planned.queries.num_rows,
        "parts_missing": sum(feature.missing for feature in planned.features),
        "bytes_missing": planned.bytes_missing,
        "free_bytes": planned.free_bytes,
        "fits": planned.bytes_missing <= room_for(planned),
        "complete": planned.complete,
        "features": [_feature_json(feature) for feature in planned.features],
        "estimate": None if estimate is None else estimate.to_json(),
    }


def _feature_lines(feature: FeaturePlan) -> list[str]:
    spec = feature.spec
    shape, formats = " x ".join(map(str, spec.shape)), " and ".join(feature.formats)
    lines = [
        f"  {spec.key}  {feature.rows} rows of {shape} {spec.tier} in {formats}, {feature.parts} parts, "
        f"{feature.missing} missing, {human_bytes(feature.bytes_missing)} to write"
    ]
    if feature.moved.num_rows:
        lines.append(f"    {feature.moved.num_rows} rows are of another revision: their pixels are compared first")
    for key, fields in feature.others.items():
        lines.append(f"    the store also has {key}, which differs in")
        lines += [f"      {field}" for field in fields]
    return lines


def _feature_json(feature: FeaturePlan) -> dict[str, Any]:
    return {
        "name": feature.spec.name,
        "key": feature.spec.key,
        "fingerprint": feature.spec.fingerprint,
        "shape": list(feature.spec.shape),
        "tier": feature.spec.tier,
        "row_bytes": feature.spec.row_bytes,
        "formats": feature.formats,
        "rows": feature.rows,
        "parts": feature.parts,
        "parts_missing": feature.missing,
        "bytes_missing": feature.bytes_missing,
        "rows_of_other_revisions": feature.moved.num_rows,
        "others": {key: list(fields) for key, fields in feature.others.items()},
    }
