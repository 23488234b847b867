"""A fault at every single file operation of a writer: the old state or the new one, never a third."""

import pytest

from .processes import run


def operations(way, path, store_format, *faults):
    return [int(line) for line in run("faulty.py", way, path, store_format, *faults).split()]


def test_a_death_at_any_operation_leaves_what_the_next_run_finishes(tmp_path):
    assert operations("link", tmp_path / "store", "zarr", "exit")[0] > 60


@pytest.mark.slow
@pytest.mark.parametrize("store_format", ["zarr", "hdf5"])
def test_a_fault_at_any_operation_is_said_and_the_next_run_finishes(tmp_path, store_format):
    full, eio, lost, dead = operations("link", tmp_path / "store", store_format, "full", "eio", "lost", "exit")
    assert full == eio == dead > 60
    assert lost >= eio


@pytest.mark.slow
def test_a_death_at_any_operation_on_hdf5_leaves_what_the_next_run_finishes(tmp_path):
    assert operations("link", tmp_path / "store", "hdf5", "exit")[0] > 60


@pytest.mark.slow
def test_so_it_is_where_files_can_only_be_renamed(tmp_path):
    assert min(operations("rename", tmp_path / "store", "zarr", "lost", "exit")) > 60
