"""A store in an S3 bucket, over a server that loses replies, cuts downloads and is busy."""

import http.client
import json
import logging
import shutil
import threading

import numpy as np
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import MachineError, StoreCorrupt, StoreError, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

from .remotes import HOST, Faults, Waits, layout_at, proxy
from .toys import (
    FORMAT_NAMES,
    a_spec,
    fill,
    filled_store,
    flip,
    overwrite,
    read_all,
    some_frames,
    some_values,
)
from .toys import (
    files_below as all_files_below,
)

PLAIN = {"allow_http": True}
SECRET = "EXAMPLE-not-for-anybody"


@pytest.fixture(scope="module")
def moto():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def bucket(moto, request, monkeypatch):
    """A new bucket's name; credentials are in the environment, where they belong."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = f"b{abs(hash(request.node.nodeid)):x}"
    connection = http.client.HTTPConnection(HOST, moto)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()
    return name


@pytest.fixture
def lab(moto, bucket, tmp_path):
    """Opens layouts of one store, each with a local copy of its own, through a proxy with faults."""
    with Lab(moto, bucket, tmp_path) as found:
        yield found


class Lab:
    def __init__(self, moto, bucket, folder):
        self.url, self.folder, self.faults, self.waits = f"s3://{bucket}/features", folder, Faults(), Waits()
        self.moto, self.bucket, self._proxy = moto, bucket, proxy(moto, self.faults)

    def __enter__(self):
        self.port = self._proxy.__enter__()
        return self

    def __exit__(self, *error):
        self._proxy.__exit__(*error)

    def layout(self, machine="a"):
        return layout_at(self.url, self.folder / machine, endpoint=f"http://{HOST}:{self.port}", waits=self.waits)

    @property
    def behind(self):
        """The store's objects, past the proxy."""
        return S3Store.from_url(self.url, config={"endpoint": f"http://{HOST}:{self.moto}"}, client_options=PLAIN)

    def delete(self, name):
        obstore.delete(self.behind, name)

    def put(self, name, data):
        obstore.put(self.behind, name, data)


def files_below(path):
    """The store's own files with their hashes."""
    return {name: digest for name, digest in all_files_below(path).items() if not name.startswith(".")}


def part_name_of(store, part=0):
    array = store.arrays()[0]
    return array.part_path(part).relative_to(store.path).as_posix()


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_what_one_machine_writes_another_reads(lab, store_format):
    mine = FeatureStore.create(lab.layout("a"))
    spec = a_spec()
    values = some_values(spec)
    fill(mine, spec, some_frames(), values, store_format=store_format)
    theirs = FeatureStore.open(lab.layout("b"))
    assert (read_all(theirs) == values).all()
    assert files_below(theirs.path) == files_below(mine.path)


def test_opening_fetches_no_part_and_reading_a_row_fetches_its_part_alone(lab):
    store = FeatureStore.create(lab.layout("a"))
    values = some_values(a_spec())
    fill(store, a_spec(), some_frames(), values)
    other = FeatureStore.open(lab.layout("b"))
    assert other.status("z").present == 300
    assert not list(other.path.rglob("c.*"))
    with other.reader("z") as reader:
        out = np.empty((2, *reader.spec.shape), reader.dtype)
        reader.read_into(np.array([130, 131]), out)
    assert (out == values[130:132]).all()
    assert [path.name for path in other.path.rglob("c.*")] == ["c.1.0.0"]


def test_two_writers_on_two_machines_end_with_the_same_parts(lab):
    spec, seeds = a_spec(), {"a": 1, "b": 2}
    gate, errors = threading.Barrier(2), []

    def write(machine):
        try:
            store = FeatureStore.create(lab.layout(machine))
            gate.wait()
            (plan,) = plan_array(store, spec, some_frames())
            values = some_values(spec, seed=seeds[machine])  # as two accelerators differ in the last bits
            for part in plan.missing if machine == "a" else reversed(plan.missing):
                rows = plan.part_range(part)
                commit_part(store, plan, part, values[rows.start : rows.stop])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(machine,)) for machine in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    a, b, fresh = (FeatureStore.open(lab.layout(machine)) for machine in ("a", "b", "c"))
    assert (read_all(a) == read_all(fresh)).all()
    assert (read_all(b) == read_all(fresh)).all()
    assert files_below(a.path) == files_below(b.path) == files_below(fresh.path)


def test_a_lost_reply_is_settled_by_looking(lab):
    store = FeatureStore.create(lab.layout())
    lab.faults.drop, values = 5, some_values(a_spec())
    fill(store, a_spec(), some_frames(), values)
    assert lab.faults.drop == 0
    assert len(lab.waits.seconds) >= 5
    assert (read_all(FeatureStore.open(lab.layout("b"))) == values).all()


def test_a_busy_server_is_asked_again_after_waits_that_double(lab):
    lab.faults.busy = 5
    FeatureStore.create(lab.layout())
    assert lab.waits.seconds == [0.25, 0.5, 1.0, 2.0, 4.0]


def test_a_server_that_stays_busy_is_a_machine_error_that_tells_no_secret(lab):
    lab.faults.busy = 10**6
    with pytest.raises(MachineError, match=f"{lab.url} does not answer") as caught:
        FeatureStore.open(lab.layout())
    assert caught.value.exit_code == 5
    assert "503" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not list(lab.layout().root.rglob("*"))


def test_a_download_that_is_cut_is_fetched_again_and_never_seen(lab):
    values = some_values(a_spec())
    fill(FeatureStore.create(lab.layout()), a_spec(), some_frames(), values)
    lab.faults.cut = 4
    other = FeatureStore.open(lab.layout("b"))
    lab.faults.cut, lab.faults.only = 3, "c.1.0.0"
    assert (read_all(other) == values).all()
    assert lab.faults.cut == 0


def test_a_download_that_stays_cut_leaves_nothing_under_the_final_name(lab):
    fill(FeatureStore.create(lab.layout()), a_spec(), some_frames(), some_values(a_spec()))
    other = FeatureStore.open(lab.layout("b"))
    lab.faults.cut, lab.faults.only = 10**6, "c.1.0.0"
    with other.reader("z") as reader, pytest.raises(MachineError, match="does not answer"):
        reader.read_into(np.array([130]), np.empty((1, *reader.spec.shape), reader.dtype))
    assert not list(other.path.rglob("c.1.0.0"))


def test_a_part_that_arrives_with_other_bytes_is_refused(lab):
    fill(FeatureStore.create(lab.layout()), a_spec(), some_frames(), some_values(a_spec()))
    other = FeatureStore.open(lab.layout("b"))
    lab.faults.corrupt, lab.faults.only = 10**6, "c.0.0.0"
    with pytest.raises(StoreCorrupt, match="not what its receipt says"):
        read_all(other)
    assert not list(other.path.rglob("c.0.0.0"))


def test_a_receipt_that_arrives_with_other_bytes_is_refused(lab):
    fill(FeatureStore.create(lab.layout()), a_spec(), some_frames(), some_values(a_spec()))
    lab.faults.corrupt, lab.faults.only = 10**6, "000001.json"
    with pytest.raises(StoreCorrupt, match="cannot be trusted"):
        FeatureStore.open(lab.layout("b"))
    assert not list((lab.folder / "b").rglob("000001.json"))


@pytest.mark.parametrize("harm", ["flip", "cut", "swap", "link"])
def test_a_damaged_local_copy_is_found_and_fetched_again(lab, harm, tmp_path):
    values = some_values(a_spec())
    fill(FeatureStore.create(lab.layout()), a_spec(), some_frames(), values)
    other = FeatureStore.open(lab.layout("b"))
    assert (read_all(other) == values).all()
    for path in [path for path in other.path.rglob("*") if path.is_file()]:
        if harm == "flip":
            flip(path, 8 * (path.stat().st_size // 2))
        elif harm == "link":
            elsewhere = tmp_path / "elsewhere" / path.relative_to(other.path)
            elsewhere.parent.mkdir(parents=True, exist_ok=True)
            path.rename(elsewhere)
            path.symlink_to(elsewhere)
        else:
            overwrite(path, path.read_bytes()[:-1] if harm == "cut" else b"\0" * path.stat().st_size)
    again = FeatureStore.open(lab.layout("b"))
    assert (read_all(again) == values).all()
    assert files_below(again.path) == files_below(FeatureStore.open(lab.layout("a")).path)
    assert not any(path.is_symlink() for path in again.path.rglob("*"))


def test_what_was_taken_away_there_goes_here_too_and_may_be_made_again(lab):
    mine = FeatureStore.create(lab.layout("a"))
    plan = fill(mine, a_spec(), some_frames(), some_values(a_spec()))
    other = FeatureStore.open(lab.layout("b"))
    read_all(other)
    array = other.arrays()[0]
    for path in (array.receipt_path(1), array.part_path(1)):
        lab.delete(path.relative_to(other.path).as_posix())
    again = FeatureStore.open(lab.layout("b"))
    assert again.status("z").missing == {plan.index_id: ("000001",)}
    assert not array.part_path(1).exists()
    redone = some_values(a_spec(), seed=7)[128:256]
    commit_part(again, plan, 1, redone)
    assert (read_all(FeatureStore.open(lab.layout("a")))[128:256] == redone).all()


def test_a_part_that_another_machine_finished_is_not_sent_again(lab):
    mine, theirs = FeatureStore.create(lab.layout("a")), FeatureStore.create(lab.layout("b"))
    spec, values = a_spec(), some_values(a_spec())
    (plan,) = plan_array(theirs, spec, some_frames())
    fill(mine, spec, some_frames(), values)
    before = len([path for method, path in lab.faults.log if method == "PUT"])
    receipt = commit_part(theirs, plan, 0, values[:128])
    assert len([path for method, path in lab.faults.log if method == "PUT"]) == before
    assert receipt.rows == 128


def test_a_part_that_is_missing_there_is_named(lab):
    store = FeatureStore.create(lab.layout("a"))
    fill(store, a_spec(), some_frames(), some_values(a_spec()))
    lab.delete(part_name_of(store, 1))
    with pytest.raises(StoreIncomplete, match=r"c\.1\.0\.0 is missing"):
        FeatureStore.open(lab.layout("b")).reader("z")


def test_a_part_of_another_size_is_refused_before_it_is_fetched(lab):
    store = FeatureStore.create(lab.layout("a"))
    fill(store, a_spec(), some_frames(), some_values(a_spec()))
    lab.put(part_name_of(store), b"short")
    with pytest.raises(StoreCorrupt, match="another size"):
        FeatureStore.open(lab.layout("b")).reader("z")


def test_names_that_no_store_has_are_left_alone(lab):
    FeatureStore.create(lab.layout("a"))
    for name in ("notes.txt", "arrays/x", "indexes/evil.parquet", ".hidden", "receipts/0/000000.json"):
        lab.put(name, b"x")
    other = FeatureStore.open(lab.layout("b"))
    assert list(files_below(other.path)) == ["vtt.json"]


def test_a_prefix_that_holds_something_else_is_no_place_for_a_store(lab):
    lab.put("thesis.tex", b"x")
    with pytest.raises(StoreError, match="not empty and no feature store"):
        FeatureStore.create(lab.layout())


def test_a_bucket_that_is_not_there_is_said_at_once(moto, bucket, tmp_path):
    waits = Waits()
    layout = layout_at(f"s3://{bucket}-nowhere/x", tmp_path, endpoint=f"http://{HOST}:{moto}", waits=waits)
    with pytest.raises(StoreError, match="cannot be used"):
        FeatureStore.open(layout)
    assert not waits.seconds


def test_the_command_line_pushes_lists_and_pulls(moto, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{moto}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store, values = filled_store(tmp_path / "mine")
    url = f"s3://{bucket}/shared"
    assert run(["store", "push", str(store.path), url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts_copied"] == 3
    assert run(["store", "push", str(store.path), url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts_there"] == 3
    assert run(["store", "ls", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == url
    assert run(["store", "pull", url, str(tmp_path / "theirs")]) == 0
    assert "3 parts copied, 0 were there" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "cache")
    assert (read_all(FeatureStore.open(tmp_path / "theirs")) == values).all()
    assert files_below(tmp_path / "theirs") == files_below(store.path)


def test_no_output_and_no_file_holds_a_credential(moto, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@{HOST}:1")  # nobody listens there
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(["store", "ls", f"s3://u:{SECRET}@{bucket}/x"]) == 2
    assert run(["store", "ls", f"s3://{bucket}/x?token={SECRET}"]) == 2
    output = capsys.readouterr()
    assert SECRET not in output.out + output.err
    with pytest.raises(MachineError) as caught:
        FeatureStore.open(layout_at(f"s3://{bucket}/x", tmp_path / "c", waits=Waits()))
    assert SECRET not in str(caught.value)
    assert f"s3://{bucket}/x does not answer" in str(caught.value)
