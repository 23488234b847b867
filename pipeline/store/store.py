"""A feature store as its readers see it: features by name, rows by number."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Never

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from ..errors import ConfigError, StoreCorrupt, StoreError, StoreIncomplete, StoreMismatch
from ..place import Place, StoreUrl, parse_place
from ..spec import FeatureSpec, canonical_json, differences
from .array import ArrayRef, list_arrays
from .files import read_file, warn_if_open_to_all
from .frames import read_frames
from .index import read_index
from .layout import MAX_SCHEMA_BYTES, Layout, part_name
from .reader import Engine, RowReader
from .row_check import Verify
from .schema import SCHEMA_TEXT, refuse_other_schema

if TYPE_CHECKING:
    import torch


class FeatureStatus(NamedTuple):
    """How much of a feature is there.

    ``present`` and ``planned`` count rows; ``missing`` names the parts without a receipt, by index id.
    """

    present: int
    planned: int
    missing: dict[str, tuple[str, ...]]


class FeatureStore:
    """A folder of features, made once and read many times; any number of processes may write and read at once.

    Instead of a folder it may be a URL (:class:`~..place.StoreUrl`): files are then read and written through a local
    copy, ``path``, and ``place`` is the URL. What others add there is seen by a store that is opened afterwards.

    A feature is named by its short name (``z``) or its key (``z-1a2b3c4d``). Its rows are the rows of its indexes in
    the order of their ids, which never changes for the rows there are; an append may insert a whole index before
    others, so keep frames and queries, not row numbers, across appends.
    """

    def __init__(self, place: str | Place | Layout) -> None:
        self.layout = place if isinstance(place, Layout) else layout_of(parse_place(place))
        self.path = self.layout.root
        self.place = self.layout.place
        self._indexes: dict[str, pa.Table] = {}

    @classmethod
    def create(cls, place: str | Place | Layout) -> "FeatureStore":
        """Make an empty store, or open the one that is there.

        Raises:
            StoreError: as :meth:`open`, or the place holds something else.
            MachineError: it cannot be written.
        """
        store = cls(place)
        names = store.layout.prepare()
        schema_file = store.layout.schema_file
        if names and schema_file.name not in names and not os.path.lexists(schema_file):  # another writer may be faster
            raise StoreError(f"{store.place} is not empty and no feature store", found=names[:5])
        store.layout.commit(schema_file, SCHEMA_TEXT.encode())
        return cls.open(store.layout)

    @classmethod
    def open(cls, place: str | Place | Layout) -> "FeatureStore":
        """Open an existing store; of a remote one, bring the local copy's small files up to date.

        Raises:
            StoreError: there is none, it is of a newer schema, or its schema file is damaged.
            MachineError: the remote place does not answer, or does not let us in.
        """
        store = cls(place)
        if store.layout.remote is not None:
            store.layout.remote.refresh()
        try:
            data = read_file(store.path, store.layout.schema_file, limit=MAX_SCHEMA_BYTES)
        except StoreIncomplete as error:
            raise StoreError(f"{store.place} is no feature store", expected="a folder with a vtt.json") from error
        refuse_other_schema(store.place, data)
        warn_if_open_to_all(store.path)
        return store

    def arrays(self) -> list[ArrayRef]:
        """Every array, by key, then by index id; StoreCorrupt if one of them cannot be trusted."""
        return list_arrays(self.layout)

    def features(self) -> dict[str, FeatureSpec]:
        """The features, keyed ``<name>-<fp8>``.

        Raises:
            StoreMismatch: two arrays under one key are of different features.
        """
        found: dict[str, FeatureSpec] = {}
        for array in self.arrays():
            spec = found.setdefault(array.key, array.spec)
            if spec.to_json() != array.spec.to_json():
                raise StoreMismatch(
                    f"{self.place} mixes two features under {array.key}",
                    found=differences(array.spec.to_json(), spec.to_json()),
                )
        return found

    def resolve(self, feature: str, *, fingerprint: str | Mapping[str, Any] | None = None) -> str:
        """The one key a name means.

        Args:
            feature: a name (``z``) or a key (``z-1a2b3c4d``).
            fingerprint: what the feature must have been made by: the whole fingerprint, or the computation itself
                (:attr:`FeatureSpec.compute`), which lets an error name the fields that differ.

        Raises:
            ConfigError: no such feature, or several of that name; lists them and how they differ.
            StoreMismatch: the feature was made by something else than ``fingerprint``.
        """
        specs = self.features()
        named = {key: spec for key, spec in specs.items() if feature in (key, spec.name)}
        if not named:
            raise ConfigError(f"{self.place} has no feature {feature!r}", found=list(specs))
        if fingerprint is not None:
            named = {key: spec for key, spec in named.items() if _made_by(spec, fingerprint)} or _refuse(
                self.place, named, fingerprint
            )
        if len(named) > 1:
            raise ConfigError(
                f"{self.place} has several features {feature!r}", found=_told_apart(named), remedy="name one by its key"
            )
        return next(iter(named))

    def index(self, feature: str) -> pa.Table:
        """Which frame or query every row belongs to; the global row number is the position.

        Columns repo_id, revision, episode_index, frame_index, camera, timestamp_s and, for a query feature,
        instruction. Raises as :meth:`resolve`.
        """
        return pa.concat_tables([self.index_table(array.index_id) for array in self._arrays_of(feature)])

    def index_table(self, index_id: str) -> pa.Table:
        """The rows of one index. Raises StoreIncomplete if there is none, StoreCorrupt if its rows are others."""
        if index_id not in self._indexes:
            self._indexes[index_id] = read_index(self.layout, index_id)
        return self._indexes[index_id]

    def frames(self, feature: str) -> pa.Table:
        """The time stamps and pixel hashes of the finished rows, with the columns of their index rows."""
        return read_frames(self._arrays_of(feature), self.index_table)

    def status(self, feature: str) -> FeatureStatus:
        """How many rows are there, how many are planned, which parts are missing. Raises as :meth:`resolve`."""
        present, planned, missing = 0, 0, {}
        for array in self._arrays_of(feature):
            finished = set(array.finished_parts())
            present += sum(len(array.meta.part_range(part)) for part in finished)
            planned += array.rows
            left = tuple(part_name(part) for part in range(array.num_parts) if part not in finished)
            if left:
                missing[array.index_id] = left
        return FeatureStatus(present, planned, missing)

    def reader(
        self, feature: str, *, verify: Verify = "first", allow_partial: bool = False, engine: Engine = "auto"
    ) -> RowReader:
        """A reader of all rows; options and errors as of :class:`RowReader`, and raises as :meth:`resolve`."""
        return RowReader(self._arrays_of(feature), verify=verify, allow_partial=allow_partial, engine=engine)

    def read(self, feature: str, rows: Int64[np.ndarray, " n"] | list[int]) -> "torch.Tensor":
        """Rows by global number, in the order asked for.

        Only the parts that hold them need to be there.

        Returns:
            (n, *shape), bfloat16 or float32; float32 for the int8 tier.

        Raises:
            ConfigError, StoreMismatch: as :meth:`resolve`.
            StoreIncomplete, StoreCorrupt: a row is missing or damaged.
            IndexError: there is no such row.
        """
        from .tensors import decode

        wanted = np.asarray(rows, np.int64)
        with RowReader(self._arrays_of(feature), verify="always", only_rows=wanted) as reader:
            out = np.empty((len(wanted), *reader.spec.stored_shape), reader.dtype)
            reader.read_into(wanted, out)
            tensor: torch.Tensor = decode(out, reader.spec, reader.channel_scale)
            return tensor

    def _arrays_of(self, feature: str) -> list[ArrayRef]:
        """All arrays of a feature, by index id, each as long as its index."""
        key = self.resolve(feature)
        arrays = [array for array in self.arrays() if array.key == key]
        for array in arrays:
            rows = self.index_table(array.index_id).num_rows
            if rows != array.rows:
                raise StoreCorrupt(f"{array.path} is not as long as its index", found=array.rows, expected=rows)
        return arrays


def is_there(place: Place) -> bool:
    """Whether there is something at the place; a remote one is asked for a store."""
    if isinstance(place, StoreUrl):
        from .remotes import open_remote

        return open_remote(place).has("vtt.json")
    return place.exists()


def layout_of(place: Place) -> Layout:
    """The layout of a store in a folder, or of the local copy of one behind a URL; asks nobody anything."""
    if isinstance(place, StoreUrl):
        from .mirror import Mirror
        from .remotes import open_remote

        return Layout(place.folder, Mirror(place, place.folder, open_remote(place)))
    return Layout(place)


def _made_by(spec: FeatureSpec, fingerprint: str | Mapping[str, Any]) -> bool:
    if isinstance(fingerprint, str):
        return spec.fingerprint == fingerprint
    return canonical_json(dict(spec.compute)) == canonical_json(dict(fingerprint))


def _refuse(place: Place, named: Mapping[str, FeatureSpec], expected: str | Mapping[str, Any]) -> Never:
    """StoreMismatch, field by field where the expected computation is known."""
    if isinstance(expected, str):
        found = [f"{key} has {spec.fingerprint}" for key, spec in named.items()]
        raise StoreMismatch(
            f"{place} has this feature made by something else",
            found=found,
            expected=expected,
            remedy="name the store that belongs to the recipe, or correct its `fingerprints`",
        )
    lines = [f"{key}: {line}" for key, spec in named.items() for line in differences(spec.compute, expected)]
    raise StoreMismatch(
        f"{place} has this feature made by something else",
        found=lines,
        expected="the same computation",
        remedy="extract the feature again, or use the recipe or checkpoint that belongs to it",
    )


def _told_apart(named: Mapping[str, FeatureSpec]) -> list[str]:
    """Every key, and how the later ones differ from the first."""
    (first_key, first), *others = named.items()
    lines = [first_key]
    for key, spec in others:
        lines += [f"{key} ({'; '.join(differences(spec.compute, first.compute))} of {first_key})"]
    return lines
