"""Changes to what the package wrote itself: bytes, or fields of JSON with every checksum made to fit again."""

import json

import hypothesis.strategies as st
from jenkins import reseal

from visual_thought.pipeline.spec import canonical_json, sha256_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20)
    | st.sampled_from([0, -1, 1 << 31, 1 << 63, 1e308, "..", "/etc/passwd", "\ud800", "z" * 10**5]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@st.composite
def changed_bytes(draw, data):
    """The data with some bytes replaced, removed or repeated, or its end gone."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        what = draw(st.sampled_from(["set", "set", "set", "remove", "repeat", "cut"]))
        if what == "set" and data:
            data[at] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
        elif what == "remove":
            del data[at : at + draw(st.integers(1, 8))]
        elif what == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif what == "cut":
            del data[at:]
    return bytes(data)


def places(value, path=()):
    """Every place in nested JSON, as the keys that lead there."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:8]):
            yield from places(inner, (*path, key))


@st.composite
def changed_json(draw, document):
    """The document with some value replaced, removed or added."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from([path for path in places(document) if path] or [("new",)]))
        inside = document
        for key in way:
            inside = inside[key]
        if draw(st.booleans()) or isinstance(inside, list):
            inside[last] = draw(json_values)
        elif draw(st.booleans()):
            del inside[last]
        else:
            inside[draw(st.text(max_size=8))] = draw(json_values)
    return document


def sealed_receipt(fields):
    fields.pop("checksum", None)
    return lenient(lambda: canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n")


def lenient(make):
    """The text as bytes, even where JSON or UTF-8 cannot quite say it."""
    try:
        return make().encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        return b"{}"


def sealed_metadata(document):
    own = document.get("visual_thought") or document.get("attributes", {})
    own = own.get("visual_thought", own) if isinstance(own, dict) else {}
    if isinstance(own, dict) and isinstance(own.get("feature"), dict):
        shape, grid = document.get("shape"), document.get("chunk_grid")
        try:
            rows = document["rows"] if shape is None else shape[0]
            part_rows = document["part_rows"] if grid is None else grid["configuration"]["chunk_shape"][0]
            hashed = [1, own["index"], rows, part_rows, own["feature"]]
            hashed += [own[name] for name in ("codec", "channel_scale") if name in own]
            own["checksum"], own["fingerprint"] = sha256_json(hashed), sha256_json(own["feature"]["compute"])
        except (KeyError, TypeError, IndexError, ValueError):
            pass
    return lenient(lambda: json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


@st.composite
def changed_in(draw, data, spans):
    """Bytes of HDF5's own structure replaced, and its seals renewed, so that the change is believed."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start, stop = draw(st.sampled_from(spans))
        data[draw(st.integers(start, stop - 1))] = draw(st.sampled_from([0, 1, 2, 4, 8, 16, 127, 128, 255]))
    return reseal(bytes(data), spans)
