"""A store in random hands: extracted, appended to, crashed, damaged, verified, repaired, collected, against a model.

The model is a number a row. Whatever happened, a row that is read has the number of the model, a finished part stays
until somebody damages it, and after a repair the missing parts can be extracted again.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.collect import collect
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.verify import verify

from .dying import Crash, dying_at
from .toys import FORMAT_NAMES, a_spec, overwrite, some_frames, some_values

MOST_ROWS = 1000
VALUES = some_values(a_spec(), MOST_ROWS)
FILES = ("part", "receipt", "metadata", "claim", "index", "schema")
DAMAGES = ("flip", "cut", "remove")


class StoreMachine(RuleBasedStateMachine):
    store_format = "zarr"
    below: Path  # where the stores are made

    def __init__(self):
        super().__init__()
        self.path = Path(tempfile.mkdtemp(dir=self.below)) / "store"
        self.rows, self.finished, self.damaged = 0, set(), False
        FeatureStore.create(self.path)

    @property
    def store(self):
        return FeatureStore.open(self.path)

    def plans(self):
        FeatureStore.create(self.path)
        return plan_array(self.store, a_spec(), some_frames(self.rows), store_format=self.store_format)

    def receipts(self):
        """(index id, part) of every receipt there is."""
        return {(path.parts[-3], int(path.stem)) for path in self.path.glob("receipts/*/*/*.json")}

    def settle(self):
        """What was finished still is; what is new is finished from now on."""
        assert self.finished <= self.receipts(), "a finished part is gone"
        self.finished = self.receipts()

    def attempt(self, work):
        """Do it; damage may stop it with an error of ours, a crash at any time, and nothing else."""
        try:
            work()
        except Crash:
            pass
        except VisualThoughtError:
            assert self.damaged
        self.settle()

    def extract_one(self, choice):
        missing = [(plan, part) for plan in self.plans() for part in plan.missing]
        if missing:
            plan, part = missing[choice % len(missing)]
            commit_part(self.store, plan, part, self.values_of(plan, part))

    def values_of(self, plan, part):
        return VALUES[numbers_of(plan.part_table(part))]

    @rule(count=st.integers(1, 300))
    def append(self, count):
        self.rows = min(self.rows + count, MOST_ROWS)
        self.attempt(self.plans)

    @rule(count=st.integers(1, 300), k=st.integers(1, 30))
    def crash_while_appending(self, count, k):
        self.rows = min(self.rows + count, MOST_ROWS)
        with dying_at(k):
            self.attempt(self.plans)

    @precondition(lambda self: self.rows)
    @rule(choice=st.integers(0, 9))
    def extract(self, choice):
        self.attempt(lambda: self.extract_one(choice))

    @precondition(lambda self: self.rows)
    @rule(choice=st.integers(0, 9), k=st.integers(1, 12))
    def crash_while_extracting(self, choice, k):
        with dying_at(k):
            self.attempt(lambda: self.extract_one(choice))

    @precondition(lambda self: self.finished)
    @rule(file=st.sampled_from(FILES), how=st.sampled_from(DAMAGES), where=st.floats(0, 1, exclude_max=True))
    def damage(self, file, how, where):
        """Change a file; an index is only cut or removed, since not all of its bits count."""
        found = self.files_in_use(file)
        if self.damaged or not found:
            return
        path = found[int(where * len(found))]
        data = bytearray(path.read_bytes())
        if how == "remove" or not data:
            path.unlink()
        elif how == "cut" or file == "index":
            overwrite(path, bytes(data[: int(where * len(data))]))
        else:
            data[int(where * len(data))] ^= 1 << int(where * 1e6) % 8
            overwrite(path, bytes(data))
        self.damaged = (file, how) != ("claim", "remove")  # the array is there, and says what was claimed
        if (file, how) == ("receipt", "remove"):
            self.finished, self.damaged = self.receipts(), False  # the part is not there any more, and that is all

    def files_in_use(self, file):
        patterns = {"part": "arrays/*/*/c.*", "receipt": "receipts/*/*/*.json", "metadata": "arrays/*/*/*.json"}
        patterns |= {"claim": "arrays/*/*.claim", "index": "indexes/*.parquet", "schema": "vtt.json"}
        pattern = "arrays/*/*/*.h5" if (file, self.store_format) == ("part", "hdf5") else patterns[file]
        index_ids = {index_id for index_id, _ in self.finished}
        return [path for path in sorted(self.path.glob(pattern)) if file == "schema" or self.counts(path, index_ids)]

    def counts(self, path, index_ids):
        """Whether a finished part relies on the file: a damaged file that nobody needs is not missed."""
        name = path.name.split(".")
        number = int(name[1]) if path.name.startswith("c.") else int(name[0]) if path.suffix == ".h5" else None
        own = index_ids.intersection([*path.parts, name[0]])
        return bool(own) and (number is None or (own.copy().pop(), number) in self.finished)

    @precondition(lambda self: self.rows)
    @rule(k=st.none() | st.integers(1, 6))
    def collect_garbage(self, k):
        with dying_at(k):
            self.attempt(lambda: collect(self.path, min_age_s=0))

    @precondition(lambda self: self.finished)
    @rule()
    def verify_fully(self):
        assert verify(self.path, full=True).ok != self.damaged

    @precondition(lambda self: self.damaged)
    @rule(k=st.none() | st.integers(1, 8))
    def mend(self, k):
        """A repair may be killed too; the next one goes on."""
        with dying_at(k), suppress(Crash):
            repair(self.path)
        repair(self.path)
        left = verify(self.path, full=True).problems
        assert not left, left
        lost = self.finished - self.receipts()
        assert len(lost) <= 1, "more was taken out than was damaged"
        self.finished, self.damaged = self.receipts(), False

    @precondition(lambda self: self.rows)
    @rule()
    def read(self):
        try:
            right, there = self.numbers_there()
        except VisualThoughtError:
            assert self.damaged or not self.rows_finished()
        else:
            assert right
            assert self.damaged or there == self.rows_finished()

    def numbers_there(self):
        """Whether every number that can be read is right, and how many rows there are."""
        store = self.store
        with store.reader("z", allow_partial=True, verify="always") as reader:
            rows = np.flatnonzero(reader.readable)
            out = np.empty((len(rows), *reader.spec.shape), reader.dtype)
            reader.read_into(rows, out)
        tables = [numbers_of(store.index_table(array.index_id)) for array in store.arrays()]
        numbers = np.concatenate(tables)
        assert len(set(numbers.tolist())) == len(numbers), "a row is planned twice"
        return out.tobytes() == VALUES[numbers[rows]].tobytes(), len(rows)

    def rows_finished(self):
        """Rows of finished parts whose array is there; its metadata may have to be written again."""
        arrays = {array.index_id: array.meta for array in self.store.arrays()}
        return sum(len(arrays[index_id].part_range(part)) for index_id, part in self.finished if index_id in arrays)

    @invariant()
    def nothing_is_written_over(self):
        assert self.finished <= self.receipts() or self.damaged

    def teardown(self):
        """Whatever came before, a repair and an extraction finish it."""
        try:
            if self.rows:
                if not self.damaged:  # it may have died before there was a store to repair
                    FeatureStore.create(self.path)
                repair(self.path)
                for plan in self.plans():
                    for part in plan.missing:
                        commit_part(self.store, plan, part, self.values_of(plan, part))
                assert self.numbers_there() == (True, self.rows)
                assert verify(self.path, full=True).ok
        finally:
            shutil.rmtree(self.path.parent)


def numbers_of(table):
    """The number of every row's frame."""
    return table.column("episode_index").to_numpy() * 100 + table.column("frame_index").to_numpy()


def run(store_format, below, examples):
    machine = type("Machine", (StoreMachine,), {"store_format": store_format, "below": below})
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes
            suppress_health_check=health,
        ),
    )


@pytest.mark.parametrize("store_format", ["zarr", pytest.param("hdf5", marks=pytest.mark.slow)])
def test_a_store_in_random_hands_keeps_its_numbers(store_format, tmp_path):
    run(store_format, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_store_in_many_random_hands_keeps_its_numbers(store_format, tmp_path):
    run(store_format, tmp_path, 200)
