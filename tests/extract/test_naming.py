import pytest

from visual_thought.extract.config import BackboneConfig
from visual_thought.extract.naming import name_backbone, parse_backbone
from visual_thought.pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "backbone"),
    [
        ("lerobot/xvla-base", BackboneConfig()),
        ("dinov2=/w/d", BackboneConfig("dinov2", "/w/d")),
        ("/a=b/c", BackboneConfig("xvla", "/a=b/c")),
        (
            "x/y?features=z,r&image_size=28x56&resize=letterbox&revision=abc",
            BackboneConfig("xvla", "x/y", revision="abc", features=("z", "r"), image_size=(28, 56), resize="letterbox"),
        ),
        (
            "attention=c?layers=[0,2]&cls=true&scale=0.5&note=a%26b%20c",
            BackboneConfig("attention", "c", options={"layers": [0, 2], "cls": True, "scale": 0.5, "note": "a&b c"}),
        ),
        ("x?text='16'", BackboneConfig("xvla", "x", options={"text": "16"})),
    ],
)
def test_a_word_is_read_as_the_backbone_it_names(text, backbone):
    assert parse_backbone(text) == backbone
    assert parse_backbone(name_backbone(backbone)) == backbone


def test_a_checkpoint_that_is_there_is_named_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    assert name_backbone(BackboneConfig("dinov2", "weights")) == f"dinov2={tmp_path}/weights"


@pytest.mark.parametrize(
    "text",
    ["", "dinov2=", "?a=1", "x?a", "x?=1", "x?a=1&a=2", "x?features=,", "x?resize=crop", "x?image_size=28", "x?a=["],
)
def test_a_word_that_cannot_be_meant_is_refused(text):
    with pytest.raises(ConfigError):
        parse_backbone(text)
