import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visual_thought.pipeline.config import build, to_plain
from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.place import Place, StoreUrl, folder_of, parse_place, without_secrets


@dataclass(frozen=True)
class Config:
    store: Place


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/a/b",
        "gs://b/x",
        "hf://datasets/user/name",
        "hf://datasets/u/n@v1.0/a/b",
        "memory://x",
    ],
)
def test_a_url_stays_as_it_is_written(text):
    url = parse_place(text + "/")
    assert str(url) == text
    assert url.absolute() is url
    assert build(Config, {"store": text}, source="test") == Config(StoreUrl(text))
    assert build(Config, to_plain(Config(url)), source="its own plain data") == Config(url)
    assert copy.deepcopy(url) == url


@pytest.mark.parametrize("text", ["store", "/a/b", "a:b", "../x", "C://x", "s3"])
def test_anything_else_is_a_folder_unless_it_looks_like_a_url(text):
    if "://" in text:
        with pytest.raises(ConfigError):
            parse_place(text)
    else:
        assert parse_place(text) == Path(text)
        assert build(Config, {"store": text}, source="test") == Config(Path(text))


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3://b/../c",
        "s3://b//c",
        "s3://b/a b",
        "s3://b/ä",
        "s3://b/a\nb",
        "ftp://host/x",
        "hf://user/name",
        "hf://datasets/name",
        "file://host/x",
        "file://relative",
    ],
)
def test_what_cannot_be_the_url_of_a_store_is_refused(text):
    with pytest.raises(ConfigError):
        parse_place(text)


@pytest.mark.parametrize(
    "text", ["s3://me:SECRET@bucket/x", "s3://bucket/x?token=SECRET", "hf://SECRET@datasets/u/n", "s3://b/#SECRET"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(text):
    with pytest.raises(ConfigError) as caught:
        parse_place(text)
    assert "SECRET" not in str(caught.value)


def test_a_url_that_went_through_a_path_is_noticed():
    with pytest.raises(ConfigError, match="was a URL before"):
        parse_place(Path("s3://bucket/x"))


def test_every_url_has_a_copy_of_its_own(tmp_path):
    texts = ["s3://b/a", "s3://b/a/b", "gs://b/a", "hf://datasets/u/n", "hf://datasets/u/n@v1"]
    folders = {folder_of(parse_place(text, cache=tmp_path)) for text in texts}
    assert len(folders) == len(texts)
    assert all(folder.parent == tmp_path for folder in folders)


@given(st.text(st.characters(codec="ascii", exclude_characters="/?#@ \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\"'<>"), min_size=1))
def test_no_user_part_or_query_is_left_in_a_text(word):
    secret = f"Q{word}Q"
    text = f"cannot GET http://user:{secret}@host/path?key={secret}&x=1 and s3://b/c#{secret} now"
    assert without_secrets(text) == "cannot GET http://host/path and s3://b/c now"
