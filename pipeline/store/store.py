"""A feature store as its readers see it: features by name, rows by number."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Never

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from ..errors import ConfigError, StoreCorrupt, StoreError, StoreIncomplete, StoreMismatch
from ..spec import FeatureSpec, canonical_json, differences
from .array import ArrayRef, list_arrays
from .commit import commit_file, make_folders
from .frames import read_frames
from .index import read_index
from .layout import NEEDS, SCHEMA, Layout, part_name, read_file
from .reader import Engine, RowReader, Verify

if TYPE_CHECKING:
    import torch

_KIND = "visual_thought feature store"
_SCHEMA_TEXT = canonical_json({"kind": _KIND, "needs": NEEDS, "schema": SCHEMA}) + "\n"


class FeatureStatus(NamedTuple):
    """How much of a feature is there.

    ``present`` and ``planned`` count rows; ``missing`` names the parts without a receipt, by index id.
    """

    present: int
    planned: int
    missing: dict[str, tuple[str, ...]]


class FeatureStore:
    """A folder of features, made once and read many times; any number of processes may write and read at once.

    A feature is named by its short name (``z``) or its key (``z-1a2b3c4d``). Its rows are the rows of its indexes in
    the order of their ids, which never changes for the rows there are; an append may insert a whole index before
    others, so keep frames and queries, not row numbers, across appends.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.layout = Layout(self.path)
        self._indexes: dict[str, pa.Table] = {}

    @classmethod
    def create(cls, path: str | Path) -> "FeatureStore":
        """Make an empty store, or open the one that is there.

        Raises:
            StoreError: as :meth:`open`, or the folder holds something else.
            MachineError: the folder cannot be written.
        """
        store = cls(path)
        if store.path.is_dir() and not os.path.lexists(store.layout.schema_file):
            names = sorted(name for name in os.listdir(store.path) if not name.startswith("."))
            if names:
                raise StoreError(f"{store.path} is not empty and no feature store", found=names[:5])
        existing = next(folder for folder in (store.path, *store.path.parents, Path()) if folder.is_dir())
        make_folders(existing, store.path)
        commit_file(store.layout.schema_file, _SCHEMA_TEXT.encode())
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> "FeatureStore":
        """Open an existing store.

        Raises:
            StoreError: there is none, it is of a newer schema, or its schema file is damaged.
        """
        store = cls(path)
        try:
            data = read_file(store.path, store.layout.schema_file)
        except StoreIncomplete as error:
            raise StoreError(f"{store.path} is no feature store", expected="a folder with a vtt.json") from error
        _refuse_other_schema(store.layout.schema_file, data)
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
                    f"{self.path} mixes two features under {array.key}",
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
            raise ConfigError(f"{self.path} has no feature {feature!r}", found=list(specs))
        if fingerprint is not None:
            named = {key: spec for key, spec in named.items() if _made_by(spec, fingerprint)} or _refuse(
                self.path, named, fingerprint
            )
        if len(named) > 1:
            raise ConfigError(
                f"{self.path} has several features {feature!r}", found=_told_apart(named), remedy="name one by its key"
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


def _made_by(spec: FeatureSpec, fingerprint: str | Mapping[str, Any]) -> bool:
    if isinstance(fingerprint, str):
        return spec.fingerprint == fingerprint
    return canonical_json(dict(spec.compute)) == canonical_json(dict(fingerprint))


def _refuse(path: Path, named: Mapping[str, FeatureSpec], expected: str | Mapping[str, Any]) -> Never:
    """StoreMismatch, field by field where the expected computation is known."""
    if isinstance(expected, str):
        found = [f"{key} has {spec.fingerprint}" for key, spec in named.items()]
        raise StoreMismatch(f"{path} has this feature made by something else", found=found, expected=expected)
    lines = [f"{key}: {line}" for key, spec in named.items() for line in differences(spec.compute, expected)]
    raise StoreMismatch(
        f"{path} has this feature made by something else",
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


def _refuse_other_schema(path: Path, data: bytes) -> None:
    try:
        said = json.loads(data)
        kind, version, needs = said["kind"], said["schema"], said["needs"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreCorrupt(f"{path} is damaged", expected=_SCHEMA_TEXT.strip()) from error
    if kind == _KIND and isinstance(version, int) and version > SCHEMA:
        raise StoreError(
            f"{path.parent} was written by a newer release",
            found=f"schema {version}",
            expected=f"schema {SCHEMA} at most",
            remedy=f"needs visual-thought >= {needs}",
        )
    if data != _SCHEMA_TEXT.encode():
        raise StoreCorrupt(f"{path} is damaged", found=said, expected=_SCHEMA_TEXT.strip())
