"""What a feature is: frozen, JSON-able descriptions that need neither torch nor weights.

An :class:`ImageSpec` says how a frame becomes a network input, a :class:`TokenLayout` where places and words lie
in a token sequence, a :class:`FeatureSpec` what one row of an array holds and which computation made it.

The *compute fingerprint* of a feature is the sha256 over everything that changes its numbers and nothing else
(see :attr:`FeatureSpec.compute`); how the numbers are stored is the *storage tier*, kept apart.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Resize = Literal["squash", "letterbox"]
Tier = Literal["bf16", "fp32", "int8"]
Per = Literal["frame", "query"]

INT8_SCALE_BYTES = 4

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageSpec:
    """How an RGB uint8 frame becomes a network input.

    ``squash`` stretches the frame to ``height x width``; ``letterbox`` keeps its aspect and pads on the left and
    top only, with zeros after normalisation. Both interpolate bilinearly, ``align_corners=False``, no antialiasing,
    as LeRobot's X-VLA does. An input that follows the frame's aspect is a squash to a size worked out before. A network
    that normalises by itself has mean 0 and standard deviation 1: it sees RGB in [0, 1].
    """

    height: int
    width: int
    resize: Resize = "squash"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True)
class TokenLayout:
    """Where places and words lie in a row of shape (tokens, channels), (rows, columns, channels), or, for a dense
    teacher's maps, (channels, rows, columns).

    ``prefix`` pooled tokens come first, then ``grid`` = (rows, columns) spatial tokens in row-major order, then
    ``text`` language tokens. A map has prefix 0 and text 0.
    """

    grid: tuple[int, int]
    prefix: int = 0
    text: int = 0

    @property
    def cells(self) -> int:
        """Number of spatial tokens."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class FeatureSpec:
    """One kind of array in a feature store.

    Args:
        name: the short name recipes use: ``z`` (fused token sequence), ``r`` (vision-tower map), ``e`` (expert tokens),
            ``y`` (dense teacher maps), …
        per: whether a row belongs to a frame or to a query (frame, instruction).
        shape: shape of one row, without the row axis.
        layout: where places and words lie in a row.
        image: how frames became network inputs; maps cells back to original pixels.
        tier: how numbers are stored (``bf16``, ``fp32``, or ``int8`` with a scale a token and one a channel); not part
            of the fingerprint.
        compute: everything that changes the numbers and nothing else (backbone, weight hashes, tap, image spec,
            view slot, compute dtype, hand-bumped ``numerics``; for query features the tokenizer's files, length, side).
    """

    name: str
    per: Per
    shape: tuple[int, ...]
    layout: TokenLayout
    image: ImageSpec
    tier: Tier
    compute: Mapping[str, Any] = field(hash=False)

    @property
    def fingerprint(self) -> str:
        """The sha256 (64 hex digits) of the computation that makes this feature."""
        return sha256_json(self.compute)

    @property
    def key(self) -> str:
        """The name of its arrays: ``<name>-<first 8 digits of the fingerprint>``."""
        return f"{self.name}-{self.fingerprint[:8]}"

    @property
    def itemsize(self) -> int:
        """Bytes a stored number."""
        return {"bf16": 2, "fp32": 4, "int8": 1}[self.tier]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """One row as it is stored: the row's own shape; in ``int8``, every token has 4 more bytes for its scale."""
        return (*self.shape[:-1], self.shape[-1] + INT8_SCALE_BYTES) if self.tier == "int8" else self.shape

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row, checksum not counted."""
        return math.prod(self.stored_shape) * self.itemsize

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that :meth:`from_json` turns back into an equal spec."""
        data: dict[str, Any] = json.loads(canonical_json(asdict(self) | {"compute": dict(self.compute)}))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FeatureSpec":
        """Rebuild a spec from :meth:`to_json`'s dictionary; raises TypeError or KeyError on any other shape."""
        values = dict(data)
        layout, image = dict(values.pop("layout")), dict(values.pop("image"))
        layout["grid"] = tuple(layout["grid"])
        image["mean"], image["std"] = tuple(image["mean"]), tuple(image["std"])
        values["shape"] = tuple(values["shape"])
        return cls(layout=TokenLayout(**layout), image=ImageSpec(**image), **values)


def canonical_json(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Tuples become lists."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def sha256_json(value: object) -> str:
    """The sha256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name every field in which two computations differ, as ``field: found != expected``."""
    lines: list[str] = []
    for key in sorted(set(found) | set(expected)):
        a, b = found.get(key, "(absent)"), expected.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif json.dumps(a, default=str) != json.dumps(b, default=str):
            lines.append(f"{prefix}{key}: {a} != {b}")
    return lines
