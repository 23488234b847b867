import errno
import os
import stat
from dataclasses import replace

import pytest

from visual_thought.pipeline.errors import MachineError, StoreError
from visual_thought.pipeline.store.commit import commit_file, make_folders
from visual_thought.pipeline.store.system import SYSTEM, publish, rename_no_replace


def fails(code):
    def call(*_):
        raise OSError(code, os.strerror(code))

    return call


def succeeds_but_says(code, real):
    """A network file system that lost the reply."""

    def call(*arguments):
        real(*arguments)
        raise OSError(code, os.strerror(code))

    return call


NO_LINKS = replace(SYSTEM, link=fails(errno.EOPNOTSUPP))
WAYS = {"link": SYSTEM, "rename": NO_LINKS}


@pytest.fixture(params=sorted(WAYS))
def calls(request):
    return WAYS[request.param]


def test_a_file_is_created_whole_and_nothing_else_stays(tmp_path, calls):
    assert commit_file(tmp_path / "part", b"mine", calls=calls) == b"mine"
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("part", b"mine")]


def test_a_file_that_is_there_stays_and_its_bytes_come_back(tmp_path, calls):
    commit_file(tmp_path / "part", b"first", calls=calls)
    assert commit_file(tmp_path / "part", b"the second one", calls=calls) == b"first"
    assert (tmp_path / "part").read_bytes() == b"first"


def test_a_writer_that_loses_at_the_last_moment_gets_the_winners_bytes(tmp_path, calls):
    def slow_fsync(fd):
        if not (tmp_path / "part").exists():
            (tmp_path / "part").write_bytes(b"faster")
        os.fsync(fd)

    assert commit_file(tmp_path / "part", b"slower", calls=replace(calls, fsync=slow_fsync)) == b"faster"
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_lost_reply_counts_as_done(tmp_path, code):
    by_link = replace(SYSTEM, link=succeeds_but_says(code, os.link))
    by_rename = replace(NO_LINKS, rename_no_replace=succeeds_but_says(code, rename_no_replace))
    assert commit_file(tmp_path / "a", b"mine", calls=by_link) == b"mine"
    assert commit_file(tmp_path / "b", b"mine", calls=by_rename) == b"mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_publishing_says_by_which_way(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).write_bytes(name.encode())
    assert publish(tmp_path / "one", tmp_path / "a") == "link"
    assert publish(tmp_path / "two", tmp_path / "b", calls=NO_LINKS) == "rename"
    assert publish(tmp_path / "three", tmp_path / "b", calls=NO_LINKS) == "exists"
    assert publish(tmp_path / "three", tmp_path / "a") == "exists"


def test_a_file_system_without_either_way_is_named(tmp_path):
    neither = replace(NO_LINKS, rename_no_replace=fails(errno.EINVAL))
    with pytest.raises(MachineError, match="only once"):
        commit_file(tmp_path / "part", b"x", calls=neither)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["write", "fsync", "link", "unlink"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_fault_at_any_step_leaves_no_file_or_the_whole_file(tmp_path, step, code):
    with pytest.raises(MachineError):
        commit_file(tmp_path / "part", b"mine", calls=replace(SYSTEM, **{step: fails(code)}))
    names = [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")]
    assert names == (["part"] if step == "unlink" else [])
    assert commit_file(tmp_path / "part", b"mine") == b"mine"


def test_short_writes_are_continued(tmp_path):
    one_byte = replace(SYSTEM, write=lambda fd, pieces: os.write(fd, pieces[0][:1]))
    assert commit_file(tmp_path / "part", b"letters", calls=one_byte) == b"letters"
    assert (tmp_path / "part").read_bytes() == b"letters"


def test_a_full_disk_says_what_is_needed_and_what_is_free(tmp_path):
    with pytest.raises(MachineError) as error:
        commit_file(tmp_path / "part", b"12345", calls=replace(SYSTEM, write=fails(errno.ENOSPC)))
    assert error.value.exit_code == 5
    assert "5 bytes" in str(error.value)
    assert "bytes free" in str(error.value)
    assert str(tmp_path / "part") in str(error.value)


def test_the_file_and_then_its_folder_are_synced(tmp_path):
    synced = []

    def fsync(fd):
        synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), (tmp_path / "part").exists()))
        os.fsync(fd)

    commit_file(tmp_path / "part", b"x", calls=replace(SYSTEM, fsync=fsync))
    assert synced == [(False, False), (True, True)]


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o440), (0o022, 0o440), (0o077, 0o400)])
def test_committed_files_are_read_only_and_honour_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        make_folders(tmp_path, tmp_path / "a" / "b")
        commit_file(tmp_path / "a" / "b" / "part", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "part").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o777 == 0o770 & ~umask


def test_folders_are_made_below_the_root_only(tmp_path):
    make_folders(tmp_path, tmp_path / "a" / "b")
    make_folders(tmp_path, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(StoreError, match="outside"):
        make_folders(tmp_path / "a", tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        make_folders(tmp_path, tmp_path / "file" / "b")


def test_a_link_under_the_final_name_is_not_followed(tmp_path):
    (tmp_path / "part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        commit_file(tmp_path / "part", b"x")
    assert not (tmp_path / "elsewhere").exists()
