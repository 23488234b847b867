"""The bench of training steps on features so small that it takes a moment: who steps, on what, and how it is said."""

import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
import yaml

from visual_thought.evaluate.bench import training
from visual_thought.evaluate.bench.arithmetic import count_flops
from visual_thought.evaluate.bench.rounds import AGAIN, Spread
from visual_thought.evaluate.bench.training import (
    FULL,
    MEMORY,
    OURS,
    RAM,
    TO_MEMORY,
    TO_ZARR,
    WAITED,
    WINDOW,
    Pace,
    bench_steps,
    from_memory,
    from_store,
    zarr_name,
)
from visual_thought.evaluate.bench.training_data import in_memory, open_run, simulate_episodes, with_loader
from visual_thought.evaluate.bench.training_epoch import (
    CACHED,
    EXTRACTION,
    LOOP,
    PAID,
    TO_LOOP,
    EpochPace,
    Flops,
    _lines,
    epochs_to_pay,
)
from visual_thought.evaluate.bench.training_zarr import ZarrEpochs, ZarrRows
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.tensors import decode
from visual_thought.train.loop import train_order
from visual_thought.train.sources import MemorySource

IMAGE, COMPUTE = ImageSpec(48, 48), {"backbone": "simulated", "numerics": 1, "dtype": "bf16"}
SPECS = (
    FeatureSpec("z", "query", (12, 8), TokenLayout((3, 3), prefix=1, text=2), IMAGE, "bf16", COMPUTE),
    FeatureSpec("r", "frame", (6, 6, 8), TokenLayout((6, 6)), IMAGE, "bf16", COMPUTE),
)
RECIPE = {
    "task": "ground",
    "features": {"z": "z", "r": "r"},
    "decoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.1},
    "head": {"dim": 16, "candidates": 3, "num_heads": 2},
    "optimizer": {"lr": 3e-3},
    "steps": 1000,
    "batch_size": 8,
}
SHORT = {"steps": 2, "zarr_steps": 2, "slices": 1, "rounds": 2, "workers": (0,), "quiet": True}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return simulate_episodes(folder, SPECS, 96)


@pytest.fixture
def run(manifest, tmp_path):
    """The toy head and its data; the run folder is the test's own."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in manifest.parent.iterdir():
        if path.name != "run":
            (folder / path.name).symlink_to(path)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(RECIPE))
    with open_run(folder / manifest.name, str(tmp_path / "toy.yaml")) as opened:
        yield opened


@pytest.fixture
def paths(manifest):
    return {array.spec.name: array.path for array in FeatureStore.open(manifest.parent / "store").arrays()}


class TestBench:
    def test_every_contender_has_its_ratios_its_control_and_its_waits(self, run, paths):
        case = bench_steps(run, paths, Pace(**SHORT))
        assert [line.name for line in case.lines] == [MEMORY, FULL, WINDOW, RAM, zarr_name(0)]
        for line in case.lines:
            assert line.ratios[TO_MEMORY].low > 0 < line.ratios[TO_ZARR].low
            assert line.control is not None
            assert (WAITED in line.ratios) == (line.name in OURS) == bool(line.bars)
        assert case.lines[0].ratios[TO_MEMORY] == case.lines[4].ratios[TO_ZARR] == Spread(1.0, 1.0, 1.0)

    def test_without_a_bar_nothing_is_asked_and_without_workers_nobody_reads_through_zarr(self, run):
        case = bench_steps(run, {}, Pace(**SHORT | {"bar": None, "workers": ()}))
        assert [line.bars for line in case.lines] == 4 * [()]
        assert not any(TO_ZARR in line.ratios for line in case.lines)

    def test_no_reader_outlives_it_nor_an_error_on_the_way(self, run, paths, tmp_path):
        before = threading.active_count()
        bench_steps(run, {}, Pace(**SHORT | {"workers": ()}))
        assert threading.active_count() == before
        with pytest.raises(FileNotFoundError):
            bench_steps(run, paths | {"z": tmp_path / "nowhere"}, Pace(**SHORT))
        assert not any("_work" in thread.name for thread in threading.enumerate())

    def test_an_interrupted_step_ends_the_readers(self, run, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        before = threading.active_count()
        monkeypatch.setattr(training, "take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench_steps(run, {}, Pace(**SHORT | {"workers": ()}))
        assert threading.active_count() == before


class TestSteps:
    def test_steps_in_memory_repeat_one_batch_under_new_numbers(self, run):
        steps = from_memory(run, 1)
        first, second = next(steps.batches), next(steps.batches)
        assert (first.draw.step, second.draw.step) == (0, 1)
        assert all(second.batch[name] is values for name, values in first.batch.items())
        assert np.array_equal(first.draw.examples, train_order(run)(0).examples)

    @pytest.mark.parametrize("shuffle", ["full", "window"])
    def test_steps_from_the_store_are_the_loops_own_batches(self, run, shuffle):
        changed = with_loader(run, shuffle=shuffle)
        with ExitStack() as stack:
            steps = from_store(changed, 2, stack)
            loaded = next(steps.batches)
            assert np.array_equal(loaded.draw.examples, train_order(changed)(0).examples)
            for name, source in run.data.sources.items():
                rows = run.data.examples.rows[name][loaded.draw.examples]
                bits = np.empty((len(rows), *source.spec.stored_shape), np.uint16)
                source.fill(rows, bits)
                assert torch.equal(loaded.batch[name], decode(bits, source.spec).float())

    def test_every_contender_trains_the_one_model_with_the_one_optimiser(self, run):
        (racer,) = run.racers
        assert racer.contender.name == "head"
        with ExitStack() as stack:
            for steps in (from_memory(run, 1), from_store(run, 1, stack), from_store(in_memory(run), 1, stack)):
                before = [parameter.detach().clone() for parameter in racer.contender.model.parameters()]
                (seconds,) = steps()
                after = list(racer.contender.model.parameters())
                assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
                assert seconds > 0
                assert run.recent == {}
        assert {int(state["step"]) for state in racer.optimizer.state.values()} == {3}

    def test_a_slice_gives_back_as_many_buffers_as_it_takes(self, run):
        """Nothing that was read ahead before the clock started is for free."""
        with ExitStack() as stack:
            steps = from_store(run, 3, stack)
            steps()
            begun = steps.loader._next
            for _ in range(4):
                steps()
            depth = run.config.loader.depth
            assert abs(steps.loader._next - begun - 12) <= depth  # what may be under way, however many slices ran

    def test_only_the_rows_of_a_run_are_held_in_memory(self, run):
        sources = in_memory(run).data.sources
        assert all(isinstance(source, MemorySource) for source in sources.values())
        assert {name: len(source._rows) for name, source in sources.items()} == {"z": 192, "r": 96}

    def test_the_format_of_the_forward_pass_is_bfloat16(self, run):
        assert run.config.precision == "bf16"
        assert run.config.controls == ()
        assert run.config.loader.residency == "disk"


class TestZarr:
    def test_an_ordinary_dataset_gives_the_numbers_of_our_loader(self, run, paths):
        examples = run.data.examples
        dataset = ZarrRows(paths, examples.rows, examples.targets)
        with ExitStack() as stack:
            loaded = next(from_store(run, 1, stack).batches)
            for place, example in enumerate(loaded.draw.examples.tolist()):
                found = dataset[example]
                assert found.keys() == loaded.batch.keys()
                assert all(torch.equal(found[name], values[place]) for name, values in loaded.batch.items())
        assert len(dataset) == 192

    def test_an_epoch_is_as_many_whole_batches_of_training_rows_as_asked(self, run, paths):
        with ExitStack() as stack:
            epochs = ZarrEpochs(run, paths, 3, 0, stack)
            batches = list(epochs)
        assert [len(batch["z"]) for batch in batches] == [8, 8, 8]
        assert batches[0]["r"].dtype == torch.float32


class TestArithmetic:
    def test_a_linear_layer_costs_two_operations_a_weight_and_row_and_twice_that_backwards(self):
        layer, x = torch.nn.Linear(5, 7), torch.randn(3, 5, requires_grad=True)
        assert count_flops(lambda: layer(x)) == 2 * 3 * 5 * 7
        assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * 5 * 7

    def test_attention_on_the_cpu_is_counted_both_ways(self):
        q, k = torch.randn(2, 4, 6, 8, requires_grad=True), torch.randn(2, 4, 10, 8)
        attend = torch.nn.functional.scaled_dot_product_attention
        assert count_flops(lambda: attend(q, k, k)) == 2 * 2 * 2 * 4 * 6 * 10 * 8
        assert count_flops(lambda: attend(q, k, k).sum().backward()) == 7 * 2 * 2 * 4 * 6 * 10 * 8

    def test_what_arithmetic_allows_is_both_halves_over_the_head(self):
        assert Flops(backbone=90.0, head=10.0).allows == 10.0


class TestRatios:
    """The machine is ten times slower in the second round, which changes no ratio."""

    def steps_line(self, name, seconds, bar):
        times = {MEMORY: [1.0, 10.0], MEMORY + AGAIN: [1.0, 10.0], zarr_name(0): [4.0, 40.0], name: seconds}
        waits = {name: Spread.of([0.5])}
        return training._line(times, waits, name, Pace(1, 1, 1, 2, workers=(0,), bar=bar))

    @pytest.mark.parametrize("name", OURS)
    def test_the_steps_of_a_round_are_held_against_those_in_memory_of_the_same_round(self, name):
        line = self.steps_line(name, [1.25, 12.5], 0.97)
        assert line.ratios[TO_MEMORY] == Spread(0.8, 0.8, 0.8)
        assert line.ratios[TO_ZARR] == Spread(3.2, 3.2, 3.2)
        assert [(bar.wanted, bar.met) for bar in line.bars] == [(">= 0.97 of memory", False)]
        assert self.steps_line(name, [1.02, 10.2], 0.97).bars[0].met

    def test_the_faster_of_two_zarr_readers_is_the_yardstick(self):
        times = {name: [1.0] for name in (MEMORY, MEMORY + AGAIN, FULL)} | {zarr_name(0): [6.0], zarr_name(2): [2.0]}
        line = training._line(times, {FULL: Spread.of([0.0])}, FULL, Pace(1, 1, 1, 1, workers=(0, 2)))
        assert line.ratios[TO_ZARR].median == 2.0

    @pytest.mark.parametrize(
        ("again", "bar", "said"),
        [(0.98, 0.97, False), (1.02, 0.97, False), (0.9, 0.97, True), (1.1, 0.97, True), (1.1, None, False)],
    )
    def test_a_machine_too_busy_for_the_bar_is_said_so(self, again, bar, said):
        notes = training._undecided({MEMORY: [1.0, 10.0], MEMORY + AGAIN: [1.0, 10.0 * again]}, bar)
        assert any("too busy to decide a bar of 0.97" in note for note in notes) == said

    def epoch_lines(self, cached, bar=20.0):
        times = {CACHED: cached, CACHED + AGAIN: cached, LOOP: [1.0, 10.0], EXTRACTION: [0.48, 4.8]}
        return {line.name: line for line in _lines(times, Flops(29.0, 1.0), EpochPace(1, 1, 1, 2, bar=bar))}

    def test_the_loop_and_the_extraction_are_held_against_the_store_of_the_same_round(self):
        lines = self.epoch_lines([0.04, 0.4])
        assert lines[CACHED].ratios[TO_LOOP].median == pytest.approx(25.0)
        assert lines[EXTRACTION].ratios[PAID] == epochs_to_pay({CACHED: [0.04], LOOP: [1.0], EXTRACTION: [0.48]})
        assert lines[EXTRACTION].ratios[PAID].median == pytest.approx(0.5)
        assert lines["by arithmetic alone"].ratios[TO_LOOP].median == 30.0
        assert lines["of that reached"].ratios["share"].median == pytest.approx(25 / 30)

    def test_twenty_times_the_loop_is_asked_where_a_bar_applies(self):
        assert self.epoch_lines([0.04, 0.4])[CACHED].bars[0].met
        assert not self.epoch_lines([0.06, 0.6])[CACHED].bars[0].met
        assert self.epoch_lines([0.06, 0.6], bar=None)[CACHED].bars == ()

    def test_an_epoch_is_the_seconds_of_a_row_times_its_rows(self):
        assert "ms a row,  2238.0 s an epoch" in self.epoch_lines([0.1, 1.0])[CACHED].pace

    def test_a_loop_that_is_no_slower_never_pays_but_stays_a_number(self):
        assert np.isfinite(epochs_to_pay({CACHED: [1.0], LOOP: [1.0], EXTRACTION: [1.0]}).median)
