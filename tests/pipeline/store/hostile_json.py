"""Hostile schema files, metadata and receipts; imported for the cases they add to the corpus."""

import json
import shutil

from visual_thought.pipeline.store.format import load_format

from .hostile import CASES, SECRET, case
from .toys import overwrite

DEEP = 5000


def _deep(levels, inside="1"):
    return json.loads("[" * levels + inside + "]" * levels)


SCHEMAS = {
    "a_list": b"[]",
    "deep": b"[" * 2000 + b"]" * 2000,
    "true": b'{"kind":"visual_thought feature store","needs":"0.1","schema":true}\n',
    "a_float": b'{"kind":"visual_thought feature store","needs":"0.1","schema":1.0}\n',
    "nan": b'{"kind":"visual_thought feature store","needs":"0.1","schema":NaN}\n',
    "a_terminal_escape": b'{"kind":"visual_thought feature store","needs":"\\u001b[2J","schema":99}\n',
    "megabytes": b"[" + b"[]," * 10**6 + b"1]",
    "a_huge_number": b'{"kind":"visual_thought feature store","needs":"0.1","schema":' + b"9" * 4000 + b"}\n",
}
for _name, _text in SCHEMAS.items():
    CASES[f"schema_{_name}"] = lambda hostile, text=_text: overwrite(hostile.schema, text)


def feature(**changes):
    """Metadata whose feature says something else."""
    return lambda document, own: own["feature"].update(changes)


def own(**changes):
    return lambda document, attributes: attributes.update(changes)


METADATA = {
    "index_above_the_root": own(index="../../../outside"),
    "index_absolute": own(index="/etc/passwd"),
    "index_a_number": own(index=1),
    "codec_unknown": own(codec="pickle"),
    "codec_a_list": own(codec=["none"]),
    "another_schema": own(schema=2),
    "schema_true": own(schema=True),
    "more_fields": own(more=1),
    "name_above_the_root": feature(name="../z"),
    "name_a_list": feature(name=["z"]),
    "per_something_else": feature(per="batch"),
    "tier_object": feature(tier="object"),
    "tier_int8_without_scale": feature(tier="int8"),
    "shape_true": feature(shape=[True, 12]),
    "shape_floats": feature(shape=[3.0, 4.0]),
    "shape_negative": feature(shape=[-3, -4]),
    "shape_empty": feature(shape=[]),
    "shape_huge": feature(shape=[1 << 40, 1 << 40]),
    "shape_of_a_million_axes": feature(shape=[1] * 10**5),
    "grid_huge": feature(layout={"grid": [1 << 62, 1 << 62], "prefix": 1, "text": 0}),
    "grid_true": feature(layout={"grid": [True, 2], "prefix": 1, "text": 0}),
    "prefix_negative": feature(layout={"grid": [1, 2], "prefix": -1, "text": 0}),
    "prefix_text": feature(layout={"grid": [1, 2], "prefix": "1", "text": 0}),
    "image_huge": feature(
        image={"height": 1 << 40, "width": 8, "resize": "squash", "mean": [0.0] * 3, "std": [1.0] * 3}
    ),
    "image_mean_of_words": feature(
        image={"height": 8, "width": 8, "resize": "squash", "mean": ["a", "b", "c"], "std": [1.0] * 3}
    ),
    "compute_deep": feature(compute={"backbone": _deep(900)}),
    "compute_a_bit_deep": feature(compute={"backbone": _deep(40)}),
    "compute_a_list": feature(compute=[]),
    "name_of_megabytes": feature(name="z" * 10**6),
    "fingerprint_of_megabytes": feature(compute={"backbone": "\u001b[2J" * 10**6}),
    "scale_where_there_is_none": own(channel_scale={"values": [1.0] * 4, "rows": 1, "measured_on": "x"}),
}
SCALES = {
    "empty": {"values": [], "rows": 1, "measured_on": "x"},
    "too_long": {"values": [1.0] * 10**5, "rows": 1, "measured_on": "x"},
    "zero": {"values": [0.0] * 4, "rows": 1, "measured_on": "x"},
    "negative": {"values": [-1.0] * 4, "rows": 1, "measured_on": "x"},
    "beyond_float32": {"values": [1e300] * 4, "rows": 1, "measured_on": "x"},
    "below_float32": {"values": [1e-300] * 4, "rows": 1, "measured_on": "x"},
    "whole_numbers": {"values": [1] * 4, "rows": 1, "measured_on": "x"},
    "rows_true": {"values": [1.0] * 4, "rows": True, "measured_on": "x"},
    "rows_a_word": {"values": [1.0] * 4, "rows": "many", "measured_on": "x"},
    "measured_on_nothing": {"values": [1.0] * 4, "rows": 1, "measured_on": None},
    "measured_on_megabytes": {"values": [1.0] * 4, "rows": 1, "measured_on": "x" * 10**6},
    "more_fields": {"values": [1.0] * 4, "rows": 1, "measured_on": "x", "more": 1},
}


def _scaled(scale):
    def change(document, attributes):
        attributes["feature"]["tier"] = "int8"
        attributes["channel_scale"] = scale

    return change


for _name, _change in METADATA.items():
    CASES[f"metadata_{_name}"] = lambda hostile, change=_change: hostile.edit_metadata(change)
for _name, _scale in SCALES.items():
    CASES[f"scale_{_name}"] = lambda hostile, scale=_scale: hostile.edit_metadata(_scaled(scale))
for _rows in (0, -1, True, 1.5, ROWS_BOMB := 10**6 * 128, 1 << 62, 10**300):
    CASES[f"metadata_of_{str(_rows)[:12]}_rows"] = lambda hostile, rows=_rows: hostile.set_rows(rows)


def _document(**changes):
    return lambda document, attributes: document.update(changes)


DOCUMENTS = {
    "zarr_format_2": _document(zarr_format=2),
    "dtype_of_objects": _document(data_type="|O"),
    "dtype_of_bytes": _document(data_type="r1048576"),
    "dtype_of_strings": _document(data_type="string"),
    "codec_of_pickles": _document(codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "codec_of_strings": _document(codecs=[{"name": "vlen-utf8"}]),
    "codec_gzip": _document(codecs=[{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 5}}]),
    "codecs_a_thousand_deep": _document(codecs=_deep(900)),
    "storage_transformers": _document(storage_transformers=[{"name": "indirection"}]),
    "chunks_huge": _document(
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1 << 50, 1 << 50, 1 << 50]}}
    ),
    "fill_value_zero": _document(fill_value=0),
    "a_group": _document(node_type="group"),
}
for _name, _change in DOCUMENTS.items():
    CASES[f"document_{_name}"] = lambda hostile, change=_change: hostile.edit_metadata(change)


@case
def zarr_2_with_a_filter_of_pickles(hostile):
    hostile.metadata.unlink()
    said = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": None}
    said |= {"compressor": None, "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]}
    (hostile.array.path / ".zarray").write_text(json.dumps(said))
    (hostile.array.path / "0").write_bytes(b"cos\nsystem\n(S'touch PICKLED'\ntR.")


@case
def the_same_array_in_the_other_format_too(hostile):
    """Its rows would be there twice."""
    other = load_format({"zarr": "hdf5", "hdf5": "zarr"}[hostile.format])
    folder = hostile.array.path.with_suffix(other.suffix)
    folder.mkdir()
    (folder / other.metadata_name).write_bytes(other.describe(hostile.array.meta))


RECEIPTS = {
    "bytes_huge": {"bytes": 1 << 62},
    "bytes_of_a_whole_disk": {"bytes": 1 << 33},
    "bytes_zero": {"bytes": 0},
    "bytes_true": {"bytes": True},
    "bytes_a_float": {"bytes": 1e3},
    "rows_huge": {"row_stop": 1 << 62},
    "rows_negative": {"row_start": -128},
    "rows_of_another_part": {"row_start": 128, "row_stop": 256},
    "too_many_checksums": {"row_crc32c": "0" * 8 * 512, "row_stop": 512},
    "no_checksums": {"row_crc32c": ""},
    "wrong_checksums": {"row_crc32c": "0" * 8 * 128},
    "nan_negative": {"nan_count": -1},
    "nan_above_all": {"nan_count": 10**300},
    "feature_above_the_root": {"feature": "../../outside-00000000"},
    "index_absolute": {"index_id": "/etc/passwd"},
    "info_deep": {"info": {"deep": _deep(900)}},
    "info_long": {"info": {"long": "x" * 10**5}},
    "more_fields": {"more": 1},
    "sha256_short": {"sha256": "0"},
    "frames_sha256_a_path": {"frames_sha256": "../../secret"},
    "schema_true": {"schema_version": True},
    "schema_of_tomorrow": {"schema_version": 99},
}
for _name, _fields in RECEIPTS.items():
    CASES[f"receipt_{_name}"] = lambda hostile, fields=_fields: hostile.edit_receipt(**fields)


@case
def a_receipt_for_part_999999(hostile):
    shutil.copy(hostile.receipt, hostile.receipts / "999999.json")


@case
def a_million_lists_as_metadata(hostile):
    overwrite(hostile.metadata, b"[" + b"[]," * 10**7 + b"1]")


@case
def a_claim_of_secrets(hostile):
    overwrite(hostile.claim, b"\x1b[2J" + SECRET * 10**5)
