"""What runs are called beside each other."""

from pathlib import Path

import pytest

from visual_thought.evaluate.names import figure_folders, run_names


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["/a/run"], ["run"]),
        (["/a/x", "/b/y"], ["x", "y"]),
        (["/s/lr-1/seed-0", "/s/lr-2/seed-0"], ["lr-1/seed-0", "lr-2/seed-0"]),
        (["/s/lr-1/seed-0", "/s/lr-1/seed-1"], ["seed-0", "seed-1"]),
        (["/a/c/seed-0", "/b/c/seed-0", "/a/d/seed-0"], ["a/c/seed-0", "b/c/seed-0", "d/seed-0"]),
        (["/seed-0", "/a/seed-0"], ["/seed-0", "a/seed-0"]),
    ],
)
def test_a_name_is_the_shortest_end_of_a_path_that_tells_it_apart(runs, names):
    assert list(run_names([Path(run) for run in runs])) == names


def test_figures_of_one_run_need_no_folder_and_those_of_several_never_share_one():
    assert figure_folders(["a/b"]) == ("",)
    assert figure_folders(["lr-1/seed-0", "lr-2/seed-0"]) == ("lr-1_seed-0", "lr-2_seed-0")
    assert len(set(figure_folders(["a/b", "a_b", "/a/b"]))) == 3
