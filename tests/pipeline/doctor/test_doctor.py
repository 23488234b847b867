"""``vtt doctor``: what it finds on machines that are well and on machines that are not."""

import errno
import http.server
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.doctor.disk import look_at_disk
from visual_thought.pipeline.doctor.findings import Finding, is_well, render
from visual_thought.pipeline.doctor.hardware import look_at_gpus, look_at_memory, look_at_processor
from visual_thought.pipeline.doctor.hub import look_at_hub
from visual_thought.pipeline.doctor.software import declared_needs, look_at_extras, look_at_packages, look_at_python

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def refuse(code: int) -> Callable[[Path, Path], None]:
    def call(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(target))

    return call


def test_this_machine_is_well_and_the_disk_is_left_as_it_was(capsys, tmp_path):
    assert run(["doctor", "--store", str(tmp_path / "store"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    found = {finding["name"]: finding for finding in said["findings"]}
    assert found["atomic commit"]["status"] == "ok"
    assert "av1" in found["decoder"]["found"]
    assert all(finding["means"] for finding in said["findings"])
    assert list(tmp_path.iterdir()) == []


def test_people_get_one_line_a_thing_and_a_verdict(capsys):
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["ok", "python"] for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "all is well" or lines[-1].startswith("fit, with")


def test_it_takes_little_time_and_leaves_torch_alone_where_there_is_no_gpu():
    code = (
        "import sys; from visual_thought.pipeline.cli import run; code = run(['doctor']); "
        "sys.exit('torch was loaded' if 'torch' in sys.modules else code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU, which torch is asked about")
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0


def test_a_disk_that_cannot_commit_is_missing_something_and_the_exit_code_says_so(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert run(["doctor", "--store", str(tmp_path / "file")]) == 5
    said = capsys.readouterr().out
    assert "MISSING  folder" in said
    assert "to do: name a folder" in said
    assert said.splitlines()[-1] == "not fit: folder"


@pytest.mark.parametrize(
    ("link", "rename", "status"),
    [
        (os.link, refuse(errno.ENOSYS), "ok"),
        (refuse(errno.EPERM), None, "note"),
        (refuse(errno.EPERM), refuse(errno.EINVAL), "missing"),
        (os.replace, os.replace, "missing"),  # one that replaces what is there is as bad
    ],
)
def test_a_disk_needs_links_or_renames_that_do_not_replace(tmp_path, link, rename, status):
    calls = {"link": link} | ({} if rename is None else {"rename": rename})
    found = by_name(look_at_disk(tmp_path, "store", probe=True, **calls))["atomic commit"]
    assert found.status == status
    assert (found.remedy is not None) == (status == "missing")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_everybody_may_write_to_is_warned_of(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    found = by_name(look_at_disk(tmp_path / "open", "store", probe=True))
    assert found["permissions"].status == "warn"
    assert "chmod o-w" in str(found["permissions"].remedy)


def test_a_package_below_its_floor_or_absent_is_named_with_the_command_that_helps():
    needed = [Requirement("numpy>=99"), Requirement("no-such-package[extra]>=1"), Requirement("packaging>=1")]
    found = by_name(look_at_packages(needed))
    assert (found["numpy"].status, found["no-such-package"].status) == ("missing", "missing")
    assert found["numpy"].remedy == "pip install 'numpy>=99'"
    assert found["no-such-package"].remedy == "pip install 'no-such-package[extra]>=1'"
    assert found["packages"].found == "1 of 3 within their bounds"
    assert not is_well(found.values())
    assert look_at_python(">=3.99").status == "missing"


def test_an_optional_package_that_is_absent_is_no_fault():
    found = list(look_at_extras({"ray": [Requirement("no-such-package>=1")], "slurm": [Requirement("numpy>=99")]}))
    assert [finding.status for finding in found] == ["note", "warn"]
    assert is_well(found)


def test_the_floors_are_those_of_the_source_tree_and_else_of_what_was_installed(tmp_path):
    for source in (ROOT, tmp_path):
        declared = declared_needs(source)
        assert declared is not None
        assert {"torch", "zarr", "av"} <= {requirement.name for requirement in declared[1]}
    assert set(declared_needs(ROOT)[2]) >= {"ray", "slurm"}


def test_the_processor_is_read_from_its_flags(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nmodel name : Xeon\nflags : amx_bf16 amx_tile avx512f vpclmulqdq\n\nflags : none\n")
    found = by_name(look_at_processor(path))
    assert [found[name].found for name in ("AMX bf16", "avx512_bf16", "vpclmulqdq")] == ["yes", "no", "yes"]
    assert "Xeon" in found["cores"].found
    assert by_name(look_at_processor(tmp_path / "none"))["AMX bf16"].status == "note"


def test_little_memory_and_a_gpu_that_torch_cannot_use_are_warned_of(tmp_path):
    import torch

    assert look_at_memory(10**9).status == "warn"
    assert [finding.status for finding in look_at_gpus(tmp_path)] == ["note"]
    (tmp_path / "nvidia0").touch()
    expected = {"ok", "warn"} if torch.cuda.is_available() else {"warn"}
    assert {finding.status for finding in look_at_gpus(tmp_path)} <= expected


@pytest.fixture
def hub() -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(503 if "busy" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_that_answers_is_reached_and_one_that_does_not_is_said_to_be_out_of_reach(hub):
    assert look_at_hub(hub, offline=False).status == "ok"
    busy = look_at_hub(f"{hub}/busy", offline=False)
    assert (busy.status, "503" in busy.found) == ("warn", True)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = look_at_hub(f"http://user:hf_secret@127.0.0.1:{closed.getsockname()[1]}", offline=False)
    assert nobody.status == "warn"
    assert "HF_HUB_OFFLINE" in str(nobody.remedy)
    assert "hf_secret" not in f"{nobody}"
    assert look_at_hub("file:///etc/passwd", offline=False).status == "warn"


def test_a_hub_that_is_silent_is_given_up_soon():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = look_at_hub(f"http://127.0.0.1:{silent.getsockname()[1]}", offline=False, timeout_s=0.2)
    assert found.status == "warn"


def test_offline_asks_nobody():
    assert look_at_hub("http://127.0.0.1:1", offline=True).status == "note"


def test_a_verdict_counts_what_is_to_be_looked_at():
    fine, bad = Finding("a", "x", "ok", "1", "fine"), Finding("b", "y", "warn", "2", "slow", "hurry")
    assert render([fine]).splitlines()[-1] == "all is well"
    assert render([fine, bad]).splitlines()[-1] == "fit, with 1 to look at: y"
    assert "to do: hurry" in render([bad])
