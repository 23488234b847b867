"""What an array's metadata may say: strict, bounded, and settled before a size is believed or anything is allocated.

Stores travel. Types, lengths and ranges are checked here for every field that a reader uses; that the text is exactly
what we would write, checksum included, is checked by the formats on top of it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

MAX_CHANNELS = 1 << 16
MAX_DEPTH = 16

Size = Annotated[int, Field(ge=1, le=1 << 29)]
Pixels = Annotated[int, Field(ge=1, le=1 << 16)]
Tokens = Annotated[int, Field(ge=0, le=1 << 20)]
Colour = Annotated[list[float], Field(min_length=3, max_length=3)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LayoutModel(_Strict):
    """A :class:`~visual_thought.pipeline.spec.TokenLayout`."""

    grid: Annotated[list[Tokens], Field(min_length=2, max_length=2)]
    prefix: Tokens
    text: Tokens


class ImageModel(_Strict):
    """A :class:`~visual_thought.pipeline.spec.ImageSpec`."""

    height: Pixels
    width: Pixels
    resize: Literal["squash", "letterbox"]
    mean: Colour
    std: Colour


class FeatureModel(_Strict):
    """A :class:`~visual_thought.pipeline.spec.FeatureSpec`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    per: Literal["frame", "query"]
    shape: Annotated[list[Size], Field(min_length=1, max_length=4)]
    layout: LayoutModel
    image: ImageModel
    tier: Literal["bf16", "fp32", "int8"]
    compute: dict[str, JsonValue]

    @field_validator("compute")
    @classmethod
    def _not_deep(cls, compute: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if depth_of(compute) > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        return compute


class ScaleModel(_Strict):
    """A :class:`~.int8.ChannelScale`: numbers that float32 can hold and divide by."""

    values: Annotated[list[Annotated[float, Field(ge=1e-37, le=1e37)]], Field(min_length=1, max_length=MAX_CHANNELS)]
    rows: Annotated[int, Field(ge=1, le=1 << 40)]
    measured_on: Annotated[str, Field(max_length=1 << 16)]


class AttributesModel(_Strict):
    """What :func:`~.format.own_attributes` writes; the formats compare the checksum and the fingerprint."""

    schema_version: Annotated[int, Field(ge=1, alias="schema")]
    index: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    feature: FeatureModel
    codec: Annotated[str, Field(max_length=32)] | None = None
    channel_scale: ScaleModel | None = None
    fingerprint: Sha256
    checksum: Sha256


def check_attributes(said: Any) -> None:
    """ValueError, with the first field that cannot be, unless ``said`` is within the bounds."""
    AttributesModel.model_validate(said)


def depth_of(value: JsonValue) -> int:
    """How many lists and dictionaries stand around the innermost value; no recursion, since depth is the danger."""
    depth, level = 0, [value]
    while level := [
        inner
        for outer in level
        if isinstance(outer, list | dict)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth
