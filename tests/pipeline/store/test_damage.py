"""Whatever is cut, flipped or taken away: a named error on reading, or found by verify, and never a wrong number."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.snapshot import seal
from visual_thought.pipeline.store.verify import verify

from .lanes import FORMATS_IN_TURN
from .toys import a_spec, overwrite, read_all, some_frames, some_row_bits, some_values

ROWS = 150  # two parts
KINDS = ("schema", "index", "claim", "metadata", "part", "receipt", "frames", "snapshot")
HARMLESS = ("index",)  # its name is the hash of its rows, so what is not one of their bytes may differ

UNNOTICED, WRONG = "unnoticed", "wrong numbers"


class Damaged:
    """A store with frames and a snapshot, the truth about it, and one file of every kind."""

    def __init__(self, path, store_format, codec="none"):
        self.store, spec = FeatureStore.create(path), a_spec()
        self.values = some_values(spec, ROWS)
        (plan,) = plan_array(self.store, spec, some_frames(ROWS), store_format=store_format, codec=codec)
        for part in plan.missing:
            rows = plan.part_range(part)
            frames = {"pts_s": np.array(rows) / 10, "pixels_sha256": [f"{row:064x}" for row in rows]}
            commit_part(self.store, plan, part, self.values[rows.start : rows.stop], frames=pa.table(frames))
        seal(path)
        (self.array,) = self.store.arrays()
        self.table, self.frames = self.store.index_table(self.array.index_id), self.store.frames("z")

    def file(self, kind, part=1):
        layout, array = self.store.layout, self.array
        index_id, key = array.index_id, array.key
        return {
            "schema": layout.schema_file,
            "index": layout.index_file(index_id),
            "claim": layout.claim_file(index_id, key),
            "metadata": array.path / array.format.metadata_name,
            "part": array.part_path(part),
            "receipt": array.receipt_path(part),
            "frames": layout.frames_file(index_id, key, part),
            "snapshot": layout.root / "snapshots" / "0001.json",
        }[kind]

    def reading(self, **options):
        """How reading everything ends: the error's name, WRONG, or UNNOTICED."""
        try:
            store = FeatureStore.open(self.store.path)
            numbers = read_all(store, **options)
            same = self.table.equals(store.index_table(self.array.index_id)) and self.frames.equals(store.frames("z"))
        except VisualThoughtError as error:
            return type(error).__name__
        return UNNOTICED if same and numbers.tobytes() == self.values.tobytes() else WRONG

    def found(self):
        """How reading ends, or, if it notices nothing, the kinds of problems that verify finds."""
        said = self.reading()
        problems = verify(self.store.path, full=True).problems if said == UNNOTICED else ()
        return ", ".join(sorted({problem.kind for problem in problems})) or said


@pytest.fixture(scope="module", params=FORMATS_IN_TURN)
def damaged(request, tmp_path_factory):
    """One store for all tests of the module; each puts back what it damaged."""
    made = Damaged(tmp_path_factory.mktemp("damaged") / "store", request.param)
    assert made.found() == UNNOTICED
    return made


@pytest.fixture
def restored(damaged, tmp_path):
    """Puts every file back after the test, and proves it."""
    shutil.copytree(damaged.store.path, tmp_path / "copy")
    yield damaged
    shutil.rmtree(damaged.store.path)
    shutil.copytree(tmp_path / "copy", damaged.store.path)
    assert damaged.found() == UNNOTICED


def outcomes(damaged, path, versions):
    """What every damaged version of a file leads to."""
    good = path.read_bytes()
    for data in versions:
        overwrite(path, data)
        yield damaged.found()
    overwrite(path, good)


def flipped(data, count, rng, start=0, stop=None):
    for bit in rng.integers(8 * start, 8 * (len(data) if stop is None else stop), count).tolist():
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_at_sixty_lengths_is_found(restored, kind):
    path = restored.file(kind)
    data = path.read_bytes()
    lengths = {0, 1, len(data) - 1, *np.random.default_rng(0).integers(0, len(data), 57).tolist()}
    found = list(outcomes(restored, path, [data[:length] for length in sorted(lengths)]))
    assert UNNOTICED not in found
    assert WRONG not in found


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_gone_is_found(restored, kind):
    for part in range(restored.array.num_parts if kind in ("part", "receipt", "frames") else 1):
        path = restored.file(kind, part)
        data = path.read_bytes()
        os.unlink(path)
        found = restored.found()
        path.write_bytes(data)
        if kind in ("snapshot", "claim"):
            assert found == UNNOTICED  # nothing relies on a snapshot, nor on the claim of an array that is there
        else:
            assert found not in (UNNOTICED, WRONG)


FLIPS = {"schema": 15, "index": 40, "claim": 15, "metadata": 40, "part": 90, "receipt": 40, "frames": 40}


class TestThreeHundredFlippedBits:
    @pytest.mark.parametrize("kind", [*FLIPS, "snapshot", "layout of the part"])
    def test_are_found_wherever_they_are(self, restored, kind):
        rng = np.random.default_rng(1)
        count, path = FLIPS.get(kind, 20), restored.file(kind if kind in KINDS else "part")
        data = path.read_bytes()
        start, stop = 0, None
        if kind not in KINDS:  # a shard's index is its tail, the structure of HDF5 its head
            start, stop = (len(data) - 2052, None) if restored.array.format_name == "zarr" else (0, 800)
        found = list(outcomes(restored, path, flipped(data, count, rng, start, stop)))
        assert len(found) == count
        assert WRONG not in found
        assert kind in HARMLESS or UNNOTICED not in found

    def test_are_three_hundred(self):
        assert sum(FLIPS.values()) + 2 * 20 >= 300

    def test_in_the_rows_are_found_by_reading_alone(self, restored):
        path = restored.file("part")
        data = path.read_bytes()
        for bit in some_row_bits(restored.array, 1, 60):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            overwrite(path, bytes(changed))
            assert restored.reading() == "StoreCorrupt"

    def test_in_the_rows_go_unnoticed_when_checks_are_off(self, restored):
        """The control: the same flips, and nothing but the checksums would have told."""
        path, said = restored.file("part"), []
        data = path.read_bytes()
        for bit in some_row_bits(restored.array, 1, 60):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            overwrite(path, bytes(changed))
            said.append(restored.reading(verify="never"))
        assert said == [WRONG] * 60
        assert verify(restored.store.path).ok  # which does not read rows unless asked to
        assert not verify(restored.store.path, full=True).ok


def test_flipped_bits_in_compressed_rows_are_found(tmp_path):
    made = Damaged(tmp_path / "store", "zarr", "bitshuffle-zstd")
    path = made.file("part")
    found = list(outcomes(made, path, flipped(path.read_bytes(), 60, np.random.default_rng(2))))
    assert set(found) == {"StoreCorrupt"}
