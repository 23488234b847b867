"""What is asked of writing, on times made by hand, and what waiting and memory are held against."""

import pytest

from visual_thought.evaluate.bench import writing
from visual_thought.evaluate.bench.features import Features, simulate
from visual_thought.evaluate.bench.rounds import AGAIN, Spread
from visual_thought.evaluate.bench.writing import OURS, PLAIN
from visual_thought.pipeline.errors import MachineError

from .toy_bench import SHAPES


@pytest.fixture
def features(tmp_path) -> Features:
    return simulate(tmp_path, 130, SHAPES)


def bars(features, name, seconds, kind):
    times = {PLAIN: 3 * [0.9], PLAIN + AGAIN: 3 * [0.9], name: 3 * [seconds]}
    return [(bar.wanted, bar.met) for bar in writing._line(features, times, name, kind).bars]


@pytest.mark.parametrize("name", OURS)
def test_writing_is_held_against_a_plain_synced_write(features, name):
    assert bars(features, name, 1.0, "ext4") == [(">= 0.90 of write + fsync", True)]
    assert bars(features, name, 1.01, "xfs") == [(">= 0.90 of write + fsync", False)]


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay", None])
def test_no_bar_applies_where_there_is_no_disk(features, kind):
    assert bars(features, OURS[0], 9.0, kind) == []


def test_nothing_is_asked_of_the_yardstick_and_of_two_parts_at_once(features):
    assert bars(features, PLAIN, 0.9, "ext4") == []
    assert bars(features, "our Zarr, two parts at once", 9.0, "ext4") == []


def test_the_control_stands_beside_every_ratio(features):
    times = {PLAIN: [1.0, 2.0, 4.0], PLAIN + AGAIN: [1.0, 1.0, 8.0], OURS[0]: [2.0, 2.0, 2.0]}
    line = writing._line(features, times, OURS[0], "ext4")
    assert line.control == Spread(1.0, 0.5, 2.0)
    assert line.ratios == {"to write + fsync": Spread(1.0, 0.5, 2.0)}


def test_the_plain_writer_writes_every_byte_in_files_of_a_part(features, monkeypatch):
    files = {}
    real = writing.shutil.rmtree

    def remember(folder):
        files.update({path.name: path.read_bytes() for path in folder.iterdir()})
        real(folder)

    monkeypatch.setattr(writing.shutil, "rmtree", remember)
    (seconds,) = writing._plain(features)()
    values = features.values
    assert files == {
        "0": values["z"][:128].tobytes(),
        "1": values["z"][128:].tobytes(),
        "2": values["r"][:128].tobytes(),
        "3": values["r"][128:].tobytes(),
    }
    assert seconds > 0


def test_a_file_that_cannot_be_written_is_named(features, tmp_path):
    with pytest.raises(MachineError, match="no-folder/0 cannot be written"):
        writing._write(tmp_path / "no-folder" / "0", features.values["z"])
