"""The card of a store in a dataset repository: what the features are, what made them, and how to read them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..manifest import DatasetManifest
from ..markdown import code, licence_fields, plain
from ..place import StoreUrl
from ..spec import FeatureSpec
from ..words import counted
from .listing import readable_bytes
from .selection import Parcel
from .store import FeatureStore

MARK = "<!-- written by vtt store push; remove this line to keep your own changes -->"


@dataclass(frozen=True)
class CardFeature:
    """One feature as the card tells it: its spec, its finished rows, and their bytes."""

    spec: FeatureSpec
    rows: int
    bytes: int


@dataclass(frozen=True)
class CardRows:
    """Whose rows they are: per dataset and revision, the episodes and cameras in its indexes."""

    repo_id: str
    revision: str
    episodes: int
    cameras: tuple[str, ...]


def describe_features(parcels: Sequence[Parcel]) -> tuple[CardFeature, ...]:
    """The features of the parcels, by key."""
    found: dict[str, CardFeature] = {}
    for parcel in parcels:
        before = found.get(parcel.array.key, CardFeature(parcel.array.spec, 0, 0))
        found[parcel.array.key] = CardFeature(before.spec, before.rows + parcel.rows, before.bytes + parcel.bytes)
    return tuple(found.values())


def describe_rows(store: FeatureStore, parcels: Sequence[Parcel]) -> tuple[CardRows, ...]:
    """The datasets behind the parcels' parts, by name and revision."""
    episodes: dict[tuple[str, str], set[int]] = {}
    cameras: dict[tuple[str, str], set[str]] = {}
    for parcel in parcels:
        table = store.index_table(parcel.array.index_id)
        for part in parcel.receipts:
            rows = parcel.array.meta.part_range(part)
            names = ["repo_id", "revision", "episode_index", "camera"]
            piece = table.slice(rows.start, len(rows)).select(names).group_by(names).aggregate([])
            for row in piece.to_pylist():
                dataset = (row["repo_id"], row["revision"])
                episodes.setdefault(dataset, set()).add(row["episode_index"])
                cameras.setdefault(dataset, set()).add(row["camera"])
    return tuple(CardRows(*key, len(episodes[key]), tuple(sorted(cameras[key]))) for key in sorted(episodes))


def write_card(
    url: StoreUrl | str,
    features: Sequence[CardFeature],
    rows: Sequence[CardRows],
    manifest: DatasetManifest | None = None,
) -> str:
    """The text of the card, with the Hub's own header.

    Args:
        url: where the store is.
        features: what it holds.
        rows: whose rows.
        manifest: of the dataset, for its licence and whether a simulation made it.
    """
    name = str(url).rpartition("/")[2].partition("@")[0]
    lines = [*_header(name, manifest), MARK, "", f"# {plain(name)}", "", _opening(features, manifest), ""]
    lines += ["## Features", "", *_table(features), "", "## Rows", "", *map(_rows_line, rows), ""]
    lines += ["## Made by", "", *(line for feature in features for line in _made_by(feature.spec)), ""]
    lines += ["## Licence", "", _licence(manifest), "", "## How to read it", "", *_reading(url, features)]
    return "\n".join(lines) + "\n"


def _header(name: str, manifest: DatasetManifest | None) -> list[str]:
    said: dict[str, Any] = {"pretty_name": name, "tags": ["robotics", "features", "visual-thought"], "viewer": False}
    if manifest is not None:
        said |= licence_fields(manifest.licence)
        said["tags"] = [*said["tags"], *(["simulation"] if manifest.simulated else [])]
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()), "---", ""]


def _opening(features: Sequence[CardFeature], manifest: DatasetManifest | None) -> str:
    size = readable_bytes(sum(feature.bytes for feature in features))
    text = (
        f"Features of frozen backbones, computed once and read many times: {counted(len(features), 'feature')}, {size}."
    )
    if manifest is not None and manifest.simulated:
        text += "\n\n**The frames are SIMULATED: no real robot recorded them. Numbers from them are of a simulation.**"
    return text


def _table(features: Sequence[CardFeature]) -> list[str]:
    lines = ["| feature | rows | per | shape | tier | size | fingerprint |", "|---|---|---|---|---|---|---|"]
    for feature in features:
        spec = feature.spec
        cells = [code(spec.key), str(feature.rows), spec.per, " x ".join(map(str, spec.shape)), spec.tier]
        cells += [readable_bytes(feature.bytes), code(spec.fingerprint)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _rows_line(rows: CardRows) -> str:
    cameras = ", ".join(map(code, rows.cameras))
    return f"- {code(rows.repo_id)} at {code(rows.revision)}: {rows.episodes} episodes, cameras {cameras}"


def _made_by(spec: FeatureSpec) -> list[str]:
    """Everything in the computation, field by field: backbone, revision, weights, tap, image, numerics."""
    return [f"- {code(spec.key)}", *_fields(spec.compute, "  ")]


def _fields(value: Any, indent: str) -> list[str]:
    lines = []
    for key, item in sorted(value.items()):
        if isinstance(item, dict):
            lines += [f"{indent}- {plain(key)}", *_fields(item, indent + "  ")]
        else:
            lines.append(f"{indent}- {plain(key)}: {code(item)}")
    return lines


def _licence(manifest: DatasetManifest | None) -> str:
    if manifest is None:
        return "Not stated. The licences of the dataset and of the backbone's weights hold for what was made from them."
    return (
        f"The dataset {code(manifest.repo_id)}: {plain(manifest.licence)}. "
        "The licence of the backbone's weights holds as well."
    )


def _reading(url: StoreUrl | str, features: Sequence[CardFeature]) -> list[str]:
    key = features[0].spec.key if features else "z"
    lines = ["import visual_thought", f"store = visual_thought.FeatureStore.open({json.dumps(str(url))})"]
    return ["```python", *lines, f"rows = store.read({json.dumps(key)}, [0, 1, 2])  # store.index(…) says whose", "```"]
