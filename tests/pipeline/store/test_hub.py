"""Stores in dataset repositories, against a Hub of a hundred lines."""

import numpy as np
import pytest
from huggingface_hub import HfApi

from visual_thought.pipeline.errors import MachineError, StoreCorrupt, StoreError
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.card import MARK
from visual_thought.pipeline.store.hub import HubRemote
from visual_thought.pipeline.store.layout import Layout
from visual_thought.pipeline.store.mirror import Mirror
from visual_thought.pipeline.store.selection import Selection
from visual_thought.pipeline.store.share import push

from .remotes import Hub, Waits, hub_server
from .toys import a_spec, fill, filled_store, read_all, some_frames, some_values

REPO = "lab/cubes"
URL = f"hf://datasets/{REPO}"
SECRET = "hf_EXAMPLEnotforanybody"


@pytest.fixture
def hub():
    found = Hub()
    with hub_server(found) as endpoint:
        found.endpoint = endpoint
        yield found


def remote_of(hub, text=URL, waits=None):
    api = HfApi(endpoint=hub.endpoint, token=SECRET)
    return HubRemote(StoreUrl(text), patience=(waits or Waits()).patience, api=api)


def layout_of(hub, cache, text=URL):
    url = StoreUrl(text, cache)
    return Layout(url.folder, Mirror(url, url.folder, remote_of(hub, text)))


@pytest.mark.parametrize("text", [URL, f"{URL}@main/features/v1"])
def test_a_store_in_a_repository_is_written_and_read(hub, tmp_path, text):
    store = FeatureStore.create(layout_of(hub, tmp_path / "a", text))
    values = some_values(a_spec())
    fill(store, a_spec(), some_frames(), values)
    other = FeatureStore.open(layout_of(hub, tmp_path / "b", text))
    assert (read_all(other) == values).all()
    with other.reader("z") as reader:
        out = np.empty((1, *reader.spec.shape), reader.dtype)
        reader.read_into(np.array([299]), out)
    assert (out == values[299:]).all()


def test_a_commit_that_lost_the_race_looks_again(hub):
    remote = remote_of(hub)
    remote.create(private=True)
    hub.before_commit = [lambda: hub.add(REPO, {"vtt.json": b"theirs"})]
    assert remote.put([("vtt.json", b"ours"), ("indexes/x", b"new")]) == {"vtt.json": b"theirs"}
    assert hub.head(REPO)["vtt.json"] == b"theirs"
    assert hub.head(REPO)["indexes/x"] == b"new"


def test_a_lost_reply_to_a_commit_is_settled_by_looking(hub):
    waits = Waits()
    remote = remote_of(hub, waits=waits)
    remote.create(private=True)
    hub.lose_replies = 1
    assert remote.put([("vtt.json", b"ours")]) == {}
    assert waits.seconds == [0.25]
    assert len(hub.commits[REPO]) == 2


def test_pushing_commits_parts_together_receipts_after_them_and_the_card_last(hub, tmp_path):
    store, values = filled_store(tmp_path / "mine")
    remote = remote_of(hub)
    url = StoreUrl(URL, tmp_path / "cache")
    done = push(store.path, url, Selection(), private=True, remote=remote)
    assert done.card_written
    assert hub.private[REPO]
    added = [sorted(set(new) - set(old)) for old, new in zip(hub.commits[REPO], hub.commits[REPO][1:], strict=False)]
    assert [{name.rpartition(".")[2] if "/c." not in name else "part" for name in names} for names in added] == [
        {"json", "parquet", "claim"},
        {"part"},
        {"json"},
        {"md"},
    ]
    assert (read_all(FeatureStore.open(layout_of(hub, tmp_path / "b"))) == values).all()
    again = push(store.path, url, Selection(), remote=remote)
    assert (again.parts_copied, again.parts_there, again.card_written) == (0, 3, False)
    assert len(hub.commits[REPO]) == 5


def test_a_card_that_somebody_wrote_stays(hub, tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    remote, url = remote_of(hub), StoreUrl(URL, tmp_path / "cache")
    remote.create(private=True)
    hub.add(REPO, {"README.md": b"# our own words"})
    assert not push(store.path, url, Selection(), remote=remote).card_written
    assert hub.head(REPO)["README.md"] == b"# our own words"
    hub.add(REPO, {"README.md": f"{MARK}\n# an older card".encode()})
    assert push(store.path, url, Selection(), remote=remote).card_written


def test_a_later_push_of_another_feature_gives_a_card_of_both(hub, tmp_path):
    store = FeatureStore.create(tmp_path / "mine")
    for name in ("z", "r"):
        fill(store, a_spec(name), some_frames(), some_values(a_spec(name)))
    remote, url = remote_of(hub), StoreUrl(URL, tmp_path / "cache")
    push(store.path, url, Selection(("z",)), remote=remote)
    assert a_spec("r").key not in hub.head(REPO)["README.md"].decode()
    push(store.path, url, Selection(("r",)), remote=remote)
    card = hub.head(REPO)["README.md"].decode()
    assert a_spec("z").key in card
    assert a_spec("r").key in card


def test_a_file_that_is_larger_than_allowed_is_refused(hub):
    remote = remote_of(hub)
    remote.create(private=True)
    hub.add(REPO, {"vtt.json": b"x" * 100})
    with pytest.raises(StoreCorrupt, match="too large"):
        remote.get("vtt.json", limit=99)
    with pytest.raises(FileNotFoundError):
        remote.get("nothing", limit=99)


def test_a_repository_that_is_not_there_is_named_without_the_token(hub, tmp_path):
    with pytest.raises(StoreError, match="is not there, or not for us") as caught:
        FeatureStore.open(layout_of(hub, tmp_path))
    assert SECRET not in str(caught.value)


def test_a_hub_that_does_not_answer_is_a_machine_error(tmp_path):
    url, waits = StoreUrl(URL, tmp_path), Waits(attempts=3)
    api = HfApi(endpoint="http://127.0.0.1:1", token=SECRET)
    remote = HubRemote(url, patience=waits.patience, api=api)
    with pytest.raises(MachineError, match="does not answer") as caught:
        remote.files()
    assert SECRET not in str(caught.value)
    assert waits.seconds == [0.25, 0.5]
