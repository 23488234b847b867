"""Stores made to do harm: what somebody could send, with every checksum they can compute made to fit.

Each case changes one finished store (two parts, frames beside them) and returns nothing. What it must not reach lies in
``outside``: a secret, and copies of the store's own files, so that a link to them would be readable if it were
followed.
"""

import hashlib
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa

from visual_thought.pipeline.spec import canonical_json, sha256_json
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.layout import SCHEMA

from .toys import a_spec, overwrite, some_frames, some_values

ROWS = 150
SECRET = b"THIS STANDS OUTSIDE OF THE STORE"
CASES = {}


def case(function):
    """List a case under its name."""
    CASES[function.__name__] = function
    return function


class Hostile:
    """One store, the files of its first part, and the tools of somebody who can compute a checksum."""

    def __init__(self, path, outside):
        self.path, self.outside, store = Path(path), Path(outside), FeatureStore.open(path)
        (self.array,) = store.arrays()
        layout, index_id, key = store.layout, self.array.index_id, self.array.key
        self.format, self.layout = self.array.format_name, layout
        self.schema, self.index = layout.schema_file, layout.index_file(index_id)
        self.claim, self.metadata = layout.claim_file(index_id, key), self.array.path / self.array.format.metadata_name
        self.part, self.receipt = self.array.part_path(0), self.array.receipt_path(0)
        self.frames, self.receipts = layout.frames_file(index_id, key, 0), layout.receipts_dir(index_id, key)
        if not self.outside.exists():
            self.outside.mkdir()
            (self.outside / "secret").write_bytes(SECRET * 1000)

    def edit_receipt(self, **changes):
        """The receipt with other fields and a right checksum."""
        fields = json.loads(self.receipt.read_text()) | changes
        del fields["checksum"]
        overwrite(self.receipt, (canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n").encode())

    def edit_metadata(self, change):
        """The metadata after ``change(document, attributes)``, with right checksum and fingerprint, in our own form."""
        document = json.loads(self.metadata.read_text())
        own = document["attributes"]["visual_thought"] if self.format == "zarr" else document["visual_thought"]
        change(document, own)
        if self.format == "zarr":
            rows, part_rows = document["shape"][0], document["chunk_grid"]["configuration"]["chunk_shape"][0]
        else:
            rows, part_rows = document["rows"], document["part_rows"]
        hashed = [SCHEMA, own["index"], rows, part_rows, own["feature"]]
        hashed += [own[name] for name in ("codec", "channel_scale") if name in own]
        own["checksum"], own["fingerprint"] = sha256_json(hashed), sha256_json(own["feature"]["compute"])
        overwrite(self.metadata, (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode())

    def set_rows(self, rows):
        """Metadata of so many rows."""

        def change(document, own):
            document |= {"shape": [rows, *document["shape"][1:]]} if self.format == "zarr" else {"rows": rows}

        self.edit_metadata(change)

    def replace_part(self, data):
        """Other bytes of the first part, and a receipt that describes them."""
        overwrite(self.part, data)
        self.edit_receipt(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def replace_frames(self, data):
        """Another table of frames, which its receipt names."""
        overwrite(self.frames, data)
        self.edit_receipt(frames_sha256=hashlib.sha256(data).hexdigest())

    def send_out(self, path):
        """Move a file or folder outside, and leave a link to it."""
        target = self.outside / hashlib.sha256(str(path).encode()).hexdigest()
        shutil.move(path, target)
        path.symlink_to(target)


def honest(path, store_format, codec="none"):
    """The store that every case starts from."""
    store, spec = FeatureStore.create(path), a_spec()
    (plan,) = plan_array(store, spec, some_frames(ROWS), store_format=store_format, codec=codec)
    values = some_values(spec, ROWS)
    for part in plan.missing:
        rows = plan.part_range(part)
        frames = pa.table({"pts_s": np.array(rows) / 10, "pixels_sha256": [f"{row:064x}" for row in rows]})
        commit_part(store, plan, part, values[rows.start : rows.stop], frames=frames)


def _put_in_place_of(path, make):
    os.unlink(path)
    make(path)


def _socket(path):
    """A socket's path may have 108 bytes only, so it is bound in its own folder."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(path.name)
    finally:
        os.chdir(here)


def _huge(path):
    """64 GB that take no room."""
    path.touch()
    os.truncate(path, 64 << 30)


STRANGE = {
    "a_pipe": os.mkfifo,
    "a_folder": os.mkdir,
    "a_socket": _socket,
    "a_huge_file": _huge,
    "an_empty_file": Path.touch,
    "a_dangling_link": lambda path: path.symlink_to("nowhere"),
    "a_link_to_itself": lambda path: path.symlink_to(path.name),
    "a_link_to_a_device": lambda path: path.symlink_to("/dev/zero"),
    "a_link_to_the_secret": lambda path: path.symlink_to("/proc/self/environ"),
}
if os.geteuid() == 0:
    STRANGE["a_device"] = lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
PLACES = ("schema", "index", "claim", "metadata", "part", "receipt", "frames")


def _strange(place, make):
    return lambda hostile: _put_in_place_of(getattr(hostile, place), make)


for _place in PLACES:
    for _name, _make in STRANGE.items():
        CASES[f"{_name}_as_{_place}"] = _strange(_place, _make)
    CASES[f"a_link_as_{_place}"] = lambda hostile, place=_place: hostile.send_out(getattr(hostile, place))


@case
def a_link_as_the_arrays_folder(hostile):
    hostile.send_out(hostile.array.path)


@case
def a_link_as_the_index_s_folder(hostile):
    hostile.send_out(hostile.array.path.parent)


@case
def a_link_as_the_receipts_folder(hostile):
    hostile.send_out(hostile.receipts)


@case
def a_link_as_arrays(hostile):
    hostile.send_out(hostile.path / "arrays")


@case
def a_link_as_indexes(hostile):
    hostile.send_out(hostile.path / "indexes")


@case
def a_link_as_receipts(hostile):
    hostile.send_out(hostile.path / "receipts")


@case
def a_file_as_arrays(hostile):
    shutil.rmtree(hostile.path / "arrays")
    (hostile.path / "arrays").touch()


@case
def a_pipe_as_receipts(hostile):
    shutil.rmtree(hostile.path / "receipts")
    os.mkfifo(hostile.path / "receipts")


@case
def a_loop_of_links_as_the_receipts_folder(hostile):
    shutil.rmtree(hostile.receipts)
    hostile.receipts.symlink_to(hostile.receipts.name)


@case
def names_that_are_none(hostile):
    """Strange names beside the right ones are no concern of anybody, but must not break a listing."""
    for folder in (hostile.receipts, hostile.array.path, hostile.index.parent, hostile.array.path.parent):
        for name in (b"\xff\xfe.json", b"new\nline.parquet", b"..json", b"000001 .json", b"-rf", b"\x1b[2J.json"):
            (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(SECRET)
    overwrite(hostile.part, hostile.part.read_bytes()[:-1])  # so that there is something to find
