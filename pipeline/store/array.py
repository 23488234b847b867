"""One array of a store: one feature of the rows of one index."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from ..spec import FeatureSpec
from .files import entries, read_file
from .format import SUFFIXES, ArrayMeta, DamageError, StoreFormat, load_format
from .layout import FEATURE_KEY, INDEX_ID, MAX_METADATA_BYTES, PART_NAME, Layout, part_name


@dataclass(frozen=True)
class ArrayRef:
    """An array that is in a store, its metadata proven.

    Args:
        layout: the paths of the store.
        meta: what its metadata file says.
        format_name: which line of the table of formats wrote it.
    """

    layout: Layout
    meta: ArrayMeta
    format_name: str = "zarr"

    @property
    def spec(self) -> FeatureSpec:
        """The feature."""
        return self.meta.spec

    @property
    def index_id(self) -> str:
        """Which rows."""
        return self.meta.index_id

    @property
    def key(self) -> str:
        """``<feature>-<fp8>``."""
        return self.meta.spec.key

    @property
    def rows(self) -> int:
        """How many rows the index plans."""
        return self.meta.rows

    @property
    def num_parts(self) -> int:
        """How many parts hold them."""
        return self.meta.parts

    @property
    def format(self) -> StoreFormat:
        """How its files are laid out."""
        return load_format(self.format_name)

    @property
    def path(self) -> Path:
        """The array's folder."""
        return self.layout.array_dir(self.index_id, self.key, self.format.suffix)

    def part_path(self, part: int) -> Path:
        """The file of one part."""
        return self.path / self.format.part_file(self.meta, part)

    def receipt_path(self, part: int) -> Path:
        """The receipt of one part."""
        return self.layout.receipt_file(self.index_id, self.key, part)

    def finished_parts(self) -> tuple[int, ...]:
        """The parts that exist, which is those that have a receipt.

        Raises:
            StoreCorrupt: there is a receipt for a part the array cannot have.
        """
        parts = tuple(map(int, entries(self.layout.receipts_dir(self.index_id, self.key), PART_NAME, ".json")))
        if parts and parts[-1] >= self.num_parts:
            raise StoreCorrupt(
                f"{self.path} has a receipt for part {part_name(parts[-1])}", expected=f"{self.num_parts} parts at most"
            )
        return parts


def load_array(layout: Layout, index_id: str, folder_name: str) -> ArrayRef:
    """Read and prove one array's metadata: it must name its own folder and its own index.

    Raises:
        StoreIncomplete: there is no metadata (yet).
        StoreCorrupt: the metadata is damaged or belongs elsewhere.
        StoreError: no known format.
    """
    key, suffix = split_folder(folder_name)
    path = layout.array_dir(index_id, key, suffix) / load_format(SUFFIXES[suffix]).metadata_name
    return parse_array(layout, index_id, folder_name, read_file(layout.root, path, limit=MAX_METADATA_BYTES))


def parse_array(layout: Layout, index_id: str, folder_name: str, data: bytes) -> ArrayRef:
    """The array that the bytes of a metadata file describe; raises as :func:`load_array`."""
    key, suffix = split_folder(folder_name)
    form = load_format(SUFFIXES[suffix])
    path = layout.array_dir(index_id, key, suffix) / form.metadata_name
    try:
        meta = form.parse(data)
    except DamageError as error:
        raise StoreCorrupt(f"{path} cannot be trusted", found=error, remedy="repair the store") from error
    if (meta.spec.key, meta.index_id) != (key, index_id):
        raise StoreCorrupt(
            f"{path} belongs to another array", found=[meta.index_id, meta.spec.key], expected=[index_id, key]
        )
    return ArrayRef(layout, meta, form.name)


def list_arrays(layout: Layout) -> list[ArrayRef]:
    """Every array of the store, by key, then by index id. Raises as :func:`load_array`.

    A folder without metadata is one that a writer is about to fill, or never will: it is no array.
    """
    found: list[ArrayRef] = []
    for index_id in entries(layout.arrays, INDEX_ID, ""):
        for suffix in SUFFIXES:
            for key in entries(layout.arrays / index_id, FEATURE_KEY, suffix):
                try:
                    found.append(load_array(layout, index_id, key + suffix))
                except StoreIncomplete:
                    continue
    found.sort(key=lambda array: (array.key, array.index_id))
    for one, other in pairwise(found):
        if (one.key, one.index_id) == (other.key, other.index_id):
            raise StoreCorrupt(f"{one.path} is there in two formats", found=[one.format_name, other.format_name])
    return found


def split_folder(folder_name: str) -> tuple[str, str]:
    """The key and the suffix in the name of an array's folder; StoreError if it is none of a known format."""
    match = re.fullmatch(rf"({FEATURE_KEY.pattern})(\.[a-z0-9]+)", folder_name)
    if match is None or match.group(4) not in SUFFIXES:
        raise StoreError(f"{folder_name!r} is no array of a known format", expected=sorted(SUFFIXES))
    return match.group(1), match.group(4)
