"""Frames as examples: which instruction is a frame's own, and what stands in for it."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.datasets.instructions import frame_sizes, own_instructions
from visual_thought.pipeline.errors import ConfigError, DatasetError, ManifestError, StoreIncomplete
from visual_thought.train.frames import frame_examples, stand_ins

TASKS = tuple(f"Pick up {colour} cube and place inside white box" for colour in ("orange", "blue", "black"))


def frames(repo_id: str = "visual-thought/tiny") -> list[dict]:
    keys = [(episode, camera, frame) for episode in range(3) for camera in ("main", "top") for frame in range(10)]
    names = ("episode_index", "camera", "frame_index")
    return [{"repo_id": repo_id, "revision": "1", **dict(zip(names, key, strict=True))} for key in keys]


def indexes(instructions: tuple[str, ...] = TASKS) -> dict[str, pa.Table]:
    """Every frame with every instruction, rows of Z shuffled so that no row number is what it seems."""
    queries = [row | {"instruction": text} for row in frames() for text in instructions]
    numbers = np.random.default_rng(0).permutation(len(queries))
    z = pa.Table.from_pylist(queries).append_column("row", pa.array(numbers))
    e = pa.Table.from_pylist(frames()).append_column("row", pa.array(np.arange(60)[::-1].copy()))
    return {"z": z, "e": e}


def asked(table: pa.Table, rows: np.ndarray) -> list[tuple]:
    """(episode, frame, camera, instruction) of rows of Z."""
    names = ("episode_index", "frame_index", "camera", "instruction")
    known = {row["row"]: tuple(row[name] for name in names) for row in table.to_pylist()}
    return [known[int(row)] for row in rows]


@pytest.fixture
def without_dataset(tiny_manifest):
    return replace(tiny_manifest, root=None)


def test_every_frame_reads_z_of_its_own_episodes_instruction(tiny_manifest):
    tables = indexes()
    examples = frame_examples(tiny_manifest, tables, "e", may_lack_rows=False)
    assert len(examples.table) == 60
    expected = [
        (episode, frame, camera, TASKS[episode])
        for episode in range(3)
        for frame in range(10)
        for camera in ("main", "top")
    ]
    assert asked(tables["z"], examples.rows["z"]) == expected
    assert [tuple(row.values()) for row in examples.table.to_pylist()] == expected
    teacher = {row["row"]: (row["episode_index"], row["frame_index"], row["camera"]) for row in tables["e"].to_pylist()}
    assert [teacher[row] for row in examples.rows["e"].tolist()] == [key[:3] for key in expected]


def test_with_one_instruction_a_frame_no_dataset_is_needed(without_dataset):
    tables = indexes(("only this",))
    examples = frame_examples(without_dataset, tables, "e", may_lack_rows=False)
    assert set(examples.table["instruction"].to_pylist()) == {"only this"}


def test_several_instructions_a_frame_need_the_dataset(without_dataset, tiny_manifest, tmp_path):
    for manifest in (without_dataset, replace(tiny_manifest, root=tmp_path)):
        with pytest.raises(DatasetError, match="several instructions a frame") as error:
            frame_examples(manifest, indexes(), "e", may_lack_rows=False)
        assert "set `root`" in str(error.value)


def test_the_manifest_chooses_cameras_episodes_and_stride(tiny_manifest):
    manifest = replace(tiny_manifest, cameras=("top",), episodes=(0, 2), stride=4)
    examples = frame_examples(manifest, indexes(), "e", may_lack_rows=False)
    assert examples.episodes == (0, 2)
    assert set(examples.table["camera"].to_pylist()) == {"top"}
    assert sorted(set(examples.table["frame_index"].to_pylist())) == [0, 4, 8]


def test_frames_without_z_of_their_own_instruction_are_refused_or_left_out(tiny_manifest):
    tables = indexes(TASKS[:2])  # nothing was asked with episode 2's instruction
    with pytest.raises(StoreIncomplete, match="20 of 60 frames"):
        frame_examples(tiny_manifest, tables, "e", may_lack_rows=False)
    examples = frame_examples(tiny_manifest, tables, "e", may_lack_rows=True)
    assert (len(examples.table), examples.left_out, examples.episodes) == (40, 20, (0, 1, 2))


def test_a_store_of_another_dataset_is_refused(tiny_manifest):
    other = {
        name: pa.Table.from_pylist(frames("toys/other")).append_column("row", pa.array(range(60))) for name in "ze"
    }
    with pytest.raises(ManifestError, match="holds no frame of the manifest tiny") as error:
        frame_examples(tiny_manifest, other, "e", may_lack_rows=False)
    assert "toys/other" in str(error.value)


def test_a_stand_in_is_any_query_of_the_same_frame_equally_often(tiny_manifest):
    tables = indexes()
    examples = frame_examples(tiny_manifest, tables, "e", may_lack_rows=False)
    frame = [tuple(row.values())[:3] for row in examples.table.to_pylist()]
    told = [asked(tables["z"], stand_ins(examples.queries, seed)) for seed in range(30)]
    assert all(key[:3] == own for keys in told for key, own in zip(keys, frame, strict=True))
    counts = [sum(key[3] == text for keys in told for key in keys) for text in TASKS]
    assert all(abs(count - 600) < 100 for count in counts)  # 1800 draws of three; five standard deviations
    assert told[0] == asked(tables["z"], stand_ins(examples.queries, 0))
    assert told[0] != told[1]


def test_nothing_stands_in_where_frames_have_one_instruction(without_dataset):
    examples = frame_examples(without_dataset, indexes(("only this",)), "e", may_lack_rows=False)
    with pytest.raises(ConfigError, match="several instructions"):
        stand_ins(examples.queries, 0)


def test_the_dataset_says_instructions_and_sizes(tiny_manifest, without_dataset):
    assert own_instructions(tiny_manifest) == {episode: (task,) * 10 for episode, task in enumerate(TASKS)}
    assert set(own_instructions(replace(tiny_manifest, episodes=(1,)))) == {1}
    assert frame_sizes(tiny_manifest) == {"main": (48, 64), "top": (48, 64)}
    assert frame_sizes(without_dataset) == {}
