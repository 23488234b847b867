"""``meta/info.json``: what a dataset says of itself, believed no further than it can be true.

A dataset may come from anywhere, so the file's size and every number in it are bounded, and its path templates can
only name files inside the dataset's folder.
"""

import json
import re
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import DatasetError

INFO = Path("meta/info.json")
MAX_INFO_BYTES = 4 << 20
MAX_EPISODES = 10**7
MAX_FRAMES = 10**10
MAX_SIDE_PX = 1 << 14

VERSIONS = ("v2.1", "v3.0")

_FIELDS = ("video_key", "chunk_index", "file_index", "episode_chunk", "episode_index")
_SPEC = re.compile(r"|0?[1-9]?d")  # ``:09999999999d`` would fill the memory with zeros
_MODEL = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)
_Template = Annotated[str, Field(min_length=1, max_length=500)]
_Key = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
_Details = Annotated[dict[str, Any], Field(max_length=1000)]


class Feature(BaseModel):
    """One entry of ``features``: its type and shape; ``names`` of a picture's axes."""

    model_config = _MODEL

    dtype: Annotated[str, Field(max_length=40)]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 31)], ...], Field(max_length=8, strict=False)]
    names: Any = None
    info: _Details | None = None
    video_info: _Details | None = None

    @property
    def is_depth(self) -> bool:
        """Whether it is a depth camera, whose pictures are no colours."""
        details = (self.info or {}) | (self.video_info or {})
        return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))

    @property
    def is_camera(self) -> bool:
        """Whether it is a colour camera: a video, or pictures one by one."""
        return self.dtype in ("video", "image") and not self.is_depth

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a camera's frames, in pixels; channels come last unless names or sizes say otherwise.

        Raises:
            DatasetError: it is no shape of a picture.
        """
        shape, names = self.shape, self.names
        if isinstance(names, list) and {"height", "width"} <= set(map(str, names)) and len(names) == len(shape):
            height, width = shape[names.index("height")], shape[names.index("width")]
        elif len(shape) == 3:
            first = 1 if shape[0] in (1, 3) and shape[2] > 4 else 0
            height, width = shape[first : first + 2]
        else:
            height = width = 0
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
            raise DatasetError(f"{INFO}: no picture has this shape", found=shape, expected="(height, width, channels)")
        return height, width


class Info(BaseModel):
    """What is relied on of ``meta/info.json``."""

    model_config = _MODEL

    codebase_version: Literal["v2.1", "v3.0"]
    fps: Annotated[float, Field(gt=0, le=10_000)]
    features: Annotated[dict[_Key, Feature], Field(min_length=1, max_length=10_000)]
    total_episodes: Annotated[int, Field(ge=1, le=MAX_EPISODES)]
    total_frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    chunks_size: Annotated[int, Field(ge=1, le=MAX_EPISODES)] = 1000
    data_path: _Template
    video_path: _Template | None = None

    def data_file(self, **numbers: int) -> Path:
        """A data file, relative to the dataset's folder; raises DatasetError if the template cannot name one."""
        return _fill("data_path", self.data_path, numbers)

    def video_file(self, video_key: str, **numbers: int) -> Path:
        """A video file, likewise."""
        return _fill("video_path", self.video_path or "", {"video_key": video_key, **numbers})


def read_info(root: Path) -> Info:
    """A dataset's ``meta/info.json``.

    Raises:
        DatasetError: it is no such file, of a format version that is not read, incomplete, or beyond all bounds.
    """
    path = root / INFO
    data = read_json(path, MAX_INFO_BYTES)
    version = data.get("codebase_version")
    if version not in VERSIONS:
        older = isinstance(version, str) and version < VERSIONS[0]
        raise DatasetError(
            f"{root} is a LeRobot dataset of another format version",
            found=version,
            expected=VERSIONS,
            remedy="convert it with the tools of its LeRobot release" if older else "update visual-thought",
        )
    try:
        return Info.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place, found = ".".join(map(str, first["loc"])), repr(first["input"])[:200]
        raise DatasetError(
            f"{path} does not describe a recording: {place}", found=found, expected=first["msg"]
        ) from None


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """A file that holds one JSON object; raises DatasetError if it does not, or has more than ``limit`` bytes."""
    return parse_json(path, read_text(path, limit))


def read_text(path: Path, limit: int) -> bytes:
    """The bytes of a small file; raises DatasetError if there is none, or it has more than ``limit``."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read", found=error.strerror or error) from None
    if len(data) > limit:
        raise DatasetError(f"{path} is too long to be what its name says", expected=f"at most {limit} bytes")
    return data


def parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """One JSON object: no NaN, no key twice; raises DatasetError (naming ``path``)."""
    try:
        found = json.loads(data, parse_constant=_no_number, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON", found=str(error) or type(error).__name__) from None
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds no JSON object", found=type(found).__name__)
    return found


def _fill(name: str, template: str, values: dict[str, Any]) -> Path:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise _bad_template(name, f"{template}: {error}") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in values or conversion or not _SPEC.fullmatch(spec or "")):
            raise _bad_template(name, f"{template}: {{{field}{':' + spec if spec else ''}}}")
    try:
        path = Path(template.format(**values))
    except ValueError as error:
        raise _bad_template(name, f"{template}: {error}") from None
    if path.is_absolute() or ".." in path.parts or "\0" in str(path) or not path.parts:
        raise DatasetError(f"{INFO} has a path that leaves the dataset's folder: {name}", found=template)
    return path


def _bad_template(name: str, found: str) -> DatasetError:
    expected = [f"{{{field}}}" for field in _FIELDS]
    return DatasetError(f"{INFO} has a path that cannot be filled in: {name}", found=found, expected=expected)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
