"""Parts i/N of an extraction: disjoint, complete, contiguous, and the same wherever they are made."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from visual_thought.extract.config import ExtractConfig
from visual_thought.extract.plan import plan
from visual_thought.extract.run import extract
from visual_thought.extract.share import parse_share, split_share, take_share
from visual_thought.extract.work import frame_ids, schedule
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, write_labels
from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.compare import differences_of

COUNTS = [1, 2, 3, 4, 5, 7, 11]


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1", "1/0", "-1/4", "1/4/2", "", "1.5/4"])
def test_a_part_that_cannot_be_is_one_usage_error(
    text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["extract", "tabletop_cubes", "--store", str(tmp_path / "s"), f"--part={text}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "i/N" in said.err
    assert not (tmp_path / "s").exists()


def test_a_part_is_read_as_people_write_it() -> None:
    assert parse_share("3/4") == (3, 4)
    with pytest.raises(ConfigError, match="no part 5/4"):
        ExtractConfig("m", Path("s"), part=(5, 4))


@pytest.mark.parametrize("count", COUNTS)
def test_the_parts_are_disjoint_and_cover_everything(both_cameras: ExtractConfig, count: int) -> None:
    planned = plan(replace(both_cameras, store=both_cameras.store.with_name("none")))
    arrays = [array for feature in planned.features for array in feature.arrays]
    shares = [take_share(arrays, (k, count)) for k in range(1, count + 1)]
    for at, whole in enumerate(arrays):
        taken = [part for share in shares for part in share[at].wanted]
        assert tuple(taken) == whole.wanted == whole.missing
        assert [share[at].missing for share in shares] == [share[at].wanted for share in shares]
    frames = [schedule(share, planned.frames, planned.queries, 16).frames for share in shares]
    assert sum(frames) <= planned.frames.num_rows + 16 * (count - 1)
    assert max(frames) - min(frames) <= 128 + 16


@pytest.mark.parametrize("share", [None, (1, 1), (2, 3)])
@pytest.mark.parametrize("count", COUNTS)
def test_the_parts_of_a_part_are_that_part(both_cameras: ExtractConfig, share: tuple[int, int], count: int) -> None:
    planned = plan(replace(both_cameras, store=both_cameras.store.with_name("none")))
    arrays = [array for feature in planned.features for array in feature.arrays]
    pieces = [take_share(arrays, piece) for piece in split_share(share, count)]
    for at, whole in enumerate(take_share(arrays, share)):
        assert tuple(part for piece in pieces for part in piece[at].wanted) == whole.wanted


def test_several_instructions_a_frame_are_cut_where_the_frames_are(
    both_cameras: ExtractConfig, manifest: Callable[..., Path], tmp_path: Path
) -> None:
    base = plan(replace(both_cameras, store=tmp_path / "none"))
    draw = random.Random(0)
    empty = dict.fromkeys(LABEL_SCHEMA.names) | {"target": "", "positive": False, "phase": ""}
    rows = [
        empty | {"episode_index": f.episode, "frame_index": f.frame, "camera": f.camera, "instruction": f"do {number}"}
        for f in frame_ids(base.frames)
        for number in range(draw.randint(1, 6))
    ]
    labels = tmp_path / "labels.parquet"
    write_labels(labels, pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
    asked = manifest(cameras=["main", "top"], stride=1, labels=str(labels))
    planned = plan(replace(both_cameras, store=tmp_path / "none", manifest=asked))
    arrays = [array for feature in planned.features for array in feature.arrays]
    shares = [take_share(arrays, (k, 3)) for k in (1, 2, 3)]
    ran = sum(schedule(share, planned.frames, planned.queries, 16).frames for share in shares)
    z = next(at for at, array in enumerate(arrays) if array.spec.per == "query")
    assert arrays[z].num_parts >= 3 * arrays[1 - z].num_parts
    assert [part for share in shares for part in share[z].wanted] == list(range(arrays[z].num_parts))
    assert ran <= planned.frames.num_rows + 2 * (128 + 2 * 16)


def test_what_is_there_already_does_not_move_the_cuts(both_cameras: ExtractConfig, tmp_path: Path) -> None:
    asked = replace(both_cameras, store=tmp_path / "store")
    before = [feature.arrays[0].wanted for feature in plan(replace(asked, part=(2, 3))).features]
    extract(replace(asked, part=(1, 3)))
    planned = plan(replace(asked, part=(2, 3)))
    assert [feature.arrays[0].wanted for feature in planned.features] == before
    assert [feature.arrays[0].missing for feature in planned.features] == before
    assert plan(replace(asked, part=(1, 3))).complete


def test_any_order_of_parts_makes_the_store_of_one_process(
    both_cameras: ExtractConfig, single: Path, tmp_path: Path
) -> None:
    asked = replace(both_cameras, store=tmp_path / "store")
    for number in (3, 1, 4, 1):
        extract(replace(asked, part=(number, 4)))
    assert differences_of(single, asked.store) != []
    assert FeatureStore.open(asked.store).status("z").missing != {}
    answer = extract(replace(asked, part=(2, 4)))
    assert {feature.parts_reused for feature in answer.features} == {0}
    assert differences_of(single, asked.store) == []
    assert extract(asked).frames == 0


def test_more_parts_than_there_is_work_leave_some_with_nothing_to_do(
    both_cameras: ExtractConfig, tmp_path: Path
) -> None:
    asked = replace(both_cameras, store=tmp_path / "store", part=(1, 50))
    assert extract(asked).frames == 0
    assert not asked.store.exists()
