"""Who takes part in the reading bench, who is refused, and what is asked of whom."""

import shutil
from contextlib import ExitStack

import numpy as np
import pytest

from visual_thought.evaluate.bench import reading
from visual_thought.evaluate.bench.features import Features
from visual_thought.evaluate.bench.libraries import LIBRARIES, Library, installed
from visual_thought.evaluate.bench.readers import PREADV, TAKE, h5py_rows, npy_preadv, npy_take, ours, zarr_python
from visual_thought.evaluate.bench.reading import ALWAYS, OURS, VERIFIED, Contender, bench_reading
from visual_thought.evaluate.bench.rounds import AGAIN
from visual_thought.pipeline.errors import StoreCorrupt, VisualThoughtError
from visual_thought.pipeline.store import FeatureStore

from .toy_bench import make_short, some_features

OWN = [TAKE, PREADV, *VERIFIED, *ALWAYS, "zarr-python", "h5py"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return some_features(tmp_path_factory.mktemp("bench") / "features")


@pytest.fixture
def features(written, tmp_path):
    """Features whose files may be damaged."""
    return Features(shutil.copytree(written.folder, tmp_path / "features"), written.values)


class TestProof:
    """Nobody's speed is measured unless its first batch is what was written, bit for bit."""

    def prove(self, features, prepare, batch=128):
        with ExitStack() as stack:
            reading._prove(features, {"somebody": Contender(prepare(features, batch, stack))}, batch)

    def flip_every_row(self, features, path):
        """Change one bit of every row that lies in a file."""
        data = path.read_bytes()
        for row in features.values["z"]:
            changed = row.copy()
            changed.flat[0] ^= 1
            data = data.replace(row.tobytes(), changed.tobytes())
        path.chmod(0o640)
        path.write_bytes(data)

    def parts(self, features, store_format, name="z"):
        arrays = FeatureStore.open(features.store(store_format)).arrays()
        (array,) = [array for array in arrays if array.spec.name == name]
        return [array.part_path(part) for part in range(array.num_parts)]

    @pytest.mark.parametrize(
        "prepare",
        [npy_take, npy_preadv, ours("zarr", "first"), ours("hdf5", "always"), zarr_python, h5py_rows],
        ids=["take", "preadv", "zarr", "hdf5", "zarr-python", "h5py"],
    )
    def test_whoever_reads_what_was_written_passes(self, features, prepare):
        self.prove(features, prepare)

    @pytest.mark.parametrize("prepare", [npy_take, npy_preadv], ids=["take", "preadv"])
    def test_a_plain_file_with_other_numbers_is_refused(self, features, prepare):
        self.flip_every_row(features, features.npy("z"))
        with pytest.raises(VisualThoughtError, match="somebody gave other numbers than were written"):
            self.prove(features, prepare)

    @pytest.mark.parametrize(
        ("store_format", "prepare"),
        [("zarr", ours("zarr", "never")), ("hdf5", ours("hdf5", "never")), ("hdf5", h5py_rows)],
        ids=["zarr", "hdf5", "h5py"],
    )
    def test_unchecked_rows_with_other_numbers_are_refused(self, features, store_format, prepare):
        path = self.parts(features, store_format)[0]
        self.flip_every_row(features, path)
        with pytest.raises(VisualThoughtError, match="other numbers"):
            self.prove(features, prepare)

    @pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
    def test_our_own_reader_refuses_them_itself(self, features, store_format):
        path = self.parts(features, store_format)[0]
        self.flip_every_row(features, path)
        with pytest.raises(StoreCorrupt):
            self.prove(features, ours(store_format, "first"))

    def test_zarr_python_on_a_whole_file_of_other_rows_is_refused(self, features):
        first, values = self.parts(features, "zarr")[0], features.values["z"]
        array = next(array for array in FeatureStore.open(features.store("zarr")).arrays() if array.spec.name == "z")
        first.chmod(0o640)
        first.write_bytes(array.format.encode(array.meta, values[:128] ^ 1))
        with pytest.raises(VisualThoughtError, match="other numbers"):
            self.prove(features, zarr_python)

    def test_rows_in_another_order_are_refused(self, features):
        def backwards(features, batch, stack):
            read = npy_take(features, batch, stack)
            return lambda rows: read(rows[::-1])

        with pytest.raises(VisualThoughtError, match="other numbers"):
            self.prove(features, backwards)

    def test_whoever_leaves_the_buffers_alone_does_not_pass_with_what_the_one_before_read(self, features):
        with ExitStack() as stack:
            first = Contender(npy_take(features, 32, stack))
            idle = Contender(lambda rows: features.buffers(32))
            with pytest.raises(VisualThoughtError, match="idle gave other numbers"):
                reading._prove(features, {"first": first, "idle": idle}, 32)

    def test_whoever_has_an_order_of_its_own_is_held_against_the_rows_it_names(self, features):
        named = np.arange(40, 72)
        with ExitStack() as stack:
            take = npy_take(features, 32, stack)
            honest = Contender(lambda rows: take(named), lambda: named)
            reading._prove(features, {"honest": honest}, 32)
            liar = Contender(lambda rows: take(named), lambda: named + 1)
            with pytest.raises(VisualThoughtError, match="liar"):
                reading._prove(features, {"liar": liar}, 32)

    def test_a_bench_with_a_wrong_file_ends_before_anything_is_measured(self, features, monkeypatch):
        self.flip_every_row(features, features.npy("z"))
        monkeypatch.setattr(reading, "interleave", lambda *_, **__: pytest.fail("it was measured"))
        with pytest.raises(VisualThoughtError, match=r"np\.take\(memmap\) gave other numbers"):
            bench_reading(features, 32, rounds=1, libraries=False, quiet=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset closes files late
def test_every_installed_library_takes_part_and_the_others_are_named(written, monkeypatch):
    nobody = Library("Nobody", "no_module_of_this_name", lambda *_: pytest.fail("it is not installed"))
    monkeypatch.setattr(reading, "LIBRARIES", (*LIBRARIES, nobody))
    make_short(monkeypatch)
    case = bench_reading(written, 16, rounds=1, quiet=True)
    there = [library.name for library in LIBRARIES if installed(library.module)]
    absent = [library.name for library in (*LIBRARIES, nobody) if not installed(library.module)]
    assert [line.name for line in case.lines] == [*OWN, *there]
    assert case.notes == (f"not installed: {', '.join(absent)}",)
    assert all(line.control is not None for line in case.lines)
    for line in case.lines:
        others = [] if line.name in (TAKE, PREADV, *VERIFIED, *ALWAYS) else ["ours to it"]
        assert list(line.ratios) == ["to np.take", "to preadv", *others]
        assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in line.ratios.values())


class TestBars:
    """What is asked of whom, on times made by hand: seconds a row in three rounds."""

    def bars(self, written, name, batch=32, **took):
        times = {TAKE: 1.0, PREADV: 1.0, OURS: 1.0} | took
        seconds = {each: 3 * [time] if isinstance(time, float) else time for each, time in times.items()}
        for each in (TAKE, PREADV, OURS):
            seconds.setdefault(each + AGAIN, seconds[each])
        return {bar.wanted: bar.met for bar in reading._line(written, seconds, name, batch).bars}

    @pytest.mark.parametrize("name", VERIFIED)
    def test_verified_rows_are_held_against_both_yardsticks(self, written, name):
        met = self.bars(written, name, **{name: 1.0})
        assert met == {">= 1.00 of preadv (A/A)": True, ">= 0.80 of np.take": True}
        assert not any(self.bars(written, name, **{name: 1.26}).values())
        slower = self.bars(written, name, **{name: 1.2})
        assert slower == {">= 1.00 of preadv (A/A)": False, ">= 0.80 of np.take": True}

    def test_the_spread_of_the_control_is_allowed_for_and_no_more(self, written):
        again = {PREADV: [1.0, 1.0, 1.0], PREADV + AGAIN: [1.0, 1.25, 1.1]}
        assert self.bars(written, OURS, **again, **{OURS: 1.24})[">= 0.80 of preadv (A/A)"]
        assert not self.bars(written, OURS, **again, **{OURS: 1.26})[">= 0.80 of preadv (A/A)"]

    def test_a_control_that_came_out_faster_does_not_raise_the_bar(self, written):
        again = {PREADV: [1.0, 1.0, 1.0], PREADV + AGAIN: [0.5, 0.6, 0.7]}
        assert self.bars(written, OURS, **again, **{OURS: 1.0})[">= 1.00 of preadv (A/A)"]

    @pytest.mark.parametrize("name", ALWAYS)
    def test_checking_every_read_has_a_bar_of_its_own(self, written, name):
        assert self.bars(written, name, **{name: 1.81}) == {">= 0.55 of np.take": True}
        assert self.bars(written, name, **{name: 1.83}) == {">= 0.55 of np.take": False}

    @pytest.mark.parametrize(
        ("name", "batch", "asked"),
        [
            ("zarr-python", 32, True),
            ("zarr-python", 256, True),
            ("WebDataset", 32, True),
            ("LitData", 256, True),
            ("HF datasets", 32, False),
            ("HF datasets", 256, True),
            ("tensorstore", 32, False),
            ("h5py", 256, False),
            (TAKE, 32, False),
            (PREADV, 32, False),
        ],
    )
    def test_libraries_are_to_be_beaten_ten_times_where_that_is_promised(self, written, name, batch, asked):
        slow, fast = self.bars(written, name, batch, **{name: 10.0}), self.bars(written, name, batch, **{name: 9.9})
        assert slow == ({"ours >= 10": True} if asked else {})
        assert fast == ({"ours >= 10": False} if asked else {})

    def test_a_median_decides_and_not_a_single_round(self, written):
        assert self.bars(written, "zarr-python", **{"zarr-python": [1.0, 11.0, 12.0]}) == {"ours >= 10": True}
        assert self.bars(written, "zarr-python", **{"zarr-python": [90.0, 9.0, 8.0]}) == {"ours >= 10": False}
