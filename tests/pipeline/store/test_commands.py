"""``vtt store``: what people read, what scripts read, and what bad input gets."""

import json
import subprocess
import sys

import pytest

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.store import FeatureStore

from .lanes import FORMATS_IN_TURN
from .maintained import COMMAND, a_store, array_of, extract
from .toys import a_spec, files_below, flip

ONE_STORE = ("ls", "inspect", "du", "verify", "repair", "seal", "gc")


@pytest.fixture(params=FORMATS_IN_TURN)
def store(tmp_path, request):
    return a_store(tmp_path / "store", request.param)


@pytest.fixture
def vtt(capsys):
    """Run one ``vtt store`` command: exit code, stdout, stderr."""

    def call(*arguments):
        code = run(["store", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.parametrize("command", ONE_STORE)
def test_every_command_speaks_to_people_and_to_scripts(store, vtt, command):
    code, text, _ = vtt(command, store.path)
    assert code == 0
    assert text.endswith("\n")
    assert not text.startswith("{")
    code, text, errors = vtt(command, store.path, "--json")
    assert (code, errors) == (0, "")
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("command", ONE_STORE)
def test_a_folder_that_is_no_store_is_one_clear_error_and_stays_as_it_is(tmp_path, vtt, command):
    (tmp_path / "mine.txt").write_text("keep me")
    for place in (tmp_path, tmp_path / "nothing"):
        code, text, errors = vtt(command, place)
        assert (code, text) == (3, "")
        assert errors.startswith(f"error: {place} is no feature store")
        assert errors.count("error:") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("command", ["ls", "inspect", "seal"])
def test_a_damaged_store_is_one_clear_error_and_stays_as_it_is(store, vtt, command):
    flip(array_of(store).receipt_path(1), 300)
    before = files_below(store.path)
    code, text, errors = vtt(command, store.path)
    assert (code, text) == (3, "")
    assert "000001" in errors
    assert files_below(store.path) == before


def test_verify_ends_with_three_and_its_whole_message(store, vtt):
    z = array_of(store)
    z.part_path(1).unlink()
    code, text, errors = vtt("verify", store.path)
    assert (code, errors) == (3, "")
    for said in ("part 000001, rows 128–255", "is missing", "episode 1 frames 28–99", z.key, COMMAND, "store repair"):
        assert said in text
    code, text, _ = vtt("verify", store.path, "--json")
    (problem,) = json.loads(text)["problems"]
    assert (code, problem["part"], problem["rows"], problem["remake"]) == (3, 1, [128, 256], COMMAND)


def test_reading_every_byte_shows_a_bar_on_stderr_unless_a_script_asks(store, vtt):
    assert "reading every byte" in vtt("verify", store.path, "--full")[2]
    assert vtt("verify", store.path, "--full", "--json")[2] == ""


def test_repair_goes_from_verify_to_extract(store, vtt):
    z = array_of(store)
    flip(z.part_path(1), 8000)
    before = files_below(store.path)
    code, text, _ = vtt("repair", store.path, "--dry-run")
    assert code == 3
    assert "nothing was changed" in text
    assert files_below(store.path) == before
    code, text, _ = vtt("repair", store.path)
    assert code == 0
    assert COMMAND in text
    assert vtt("verify", store.path, "--full")[0] == 0
    assert extract(FeatureStore.open(store.path)) == [1]


def test_gc_keeps_young_files_and_refuses_a_negative_age(store, vtt):
    litter = store.layout.indexes / ".x.tmp"
    litter.write_bytes(b"1234")
    assert "1 file kept: younger than --min-age" in vtt("gc", store.path)[1]
    assert "1 file would be removed, 4 B" in vtt("gc", store.path, "--min-age", 0, "--dry-run")[1]
    assert litter.exists()
    assert vtt("gc", store.path, "--min-age", -1)[0] == 2
    assert json.loads(vtt("gc", store.path, "--min-age", 0, "--json")[1])["removed"] == [str(litter)]
    assert not litter.exists()


def test_seal_says_what_it_sealed(store, vtt):
    text = vtt("seal", store.path)[1]
    assert text.splitlines()[0] == "snapshot 0001: partly extracted"
    assert json.loads(vtt("seal", store.path, "--json")[1])["number"] == 1


def test_inspect_takes_one_feature_by_name(store, vtt):
    code, text, _ = vtt("inspect", store.path, "e")
    assert code == 0
    assert a_spec().key not in text
    code, text, errors = vtt("inspect", store.path, "nope")
    assert (code, text) == (2, "")
    assert "no feature 'nope'" in errors


def test_merge_and_diff_agree(store, tmp_path, vtt):
    code, text, _ = vtt("merge", tmp_path / "all", store.path)
    assert code == 0
    assert "5 parts from 1 store" in text
    code, text, _ = vtt("diff", store.path, tmp_path / "all")
    assert (code, text) == (0, f"{store.path} and {tmp_path / 'all'} are equal\n")
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[1])
    code, text, _ = vtt("diff", store.path, tmp_path / "all", "--json")
    assert (code, json.loads(text)["equal"], len(json.loads(text)["differences"])) == (3, False, 1)


def test_merge_of_what_does_not_fit_is_a_mismatch_and_writes_nothing(store, tmp_path, vtt):
    other = FeatureStore.create(tmp_path / "other")
    extract(other, a_spec(tier="fp32"))
    before = files_below(store.path)
    code, text, errors = vtt("merge", store.path, other.path)
    assert (code, text) == (4, "")
    assert "tier: fp32 != bf16" in errors
    assert files_below(store.path) == before


def test_a_store_open_to_everybody_is_warned_of_on_stderr(store, vtt):
    store.path.chmod(0o777)
    code, text, errors = vtt("ls", store.path, "--json")
    assert code == 0
    assert json.loads(text)
    assert errors == (
        f"warning: {store.path} is writable for every user of this machine; close it with `chmod o-w {store.path}`\n"
    )


def test_no_command_needs_a_heavy_library(tmp_path):
    store, other = (str(a_store(tmp_path / name).path) for name in ("store", "other"))
    commands = [[name, store] for name in ONE_STORE] + [["merge", store, other], ["diff", store, other]]
    code = """if True:
        import json, sys
        from visual_thought.pipeline.cli import run
        for command in json.loads(sys.argv[1]):
            code = run(["store", *command])
            heavy = {"torch", "lerobot", "transformers", "zarr", "h5py", "obstore"} & set(sys.modules)
            if code or heavy:
                sys.exit(f"{command}: ended with {code}, loaded {heavy}")
    """
    given = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
