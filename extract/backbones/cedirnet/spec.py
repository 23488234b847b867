"""What a converted CeDiRNet's maps are, read from its config.json alone; no weights, no model class.

Y is one row a frame: the channels asked for, at the network input's resolution or pooled. The paper's C is the first
three: sin, cos and radius.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from ....pipeline.errors import ConfigError, WeightsError
from ....pipeline.spec import FeatureSpec, ImageSpec, Resize, Tier, TokenLayout
from ..options import read_options, require_features
from ..weights import read_json, weights_sha256
from .files import CONFIG, DETECTOR
from .shape import CHANNELS, STRIDE, DetectorShape, shape_of

FEATURES = ("y",)
NUMERICS = 1  # raise by hand when this code changes a feature's numbers
DEFAULT_SIZE = (768, 768)

OPTIONS: Mapping[str, JsonValue] = {
    "channels": [0, 1, 2],  # of the six: sin, cos, radius, dx, dy, and one that was never supervised
    "pool": 1,  # pixels a side that are averaged into one number
}


def describe(
    checkpoint: str,
    *,
    features: Sequence[str] = FEATURES,
    dtype: Tier = "bf16",
    resize: Resize | None = None,
    image_size: tuple[int, int] | None = None,
    frame_size: tuple[int, int] | None = None,  # noqa: ARG001 - the network input does not follow it
    options: Mapping[str, JsonValue] | None = None,
    revision: str | None = None,
    hash_cache: Path | None = None,
    hub_cache: Path | None = None,
) -> tuple[FeatureSpec, ...]:
    """Declare a converted CeDiRNet's maps before any weights load.

    Args:
        checkpoint: a directory that ``vtt weights convert-cedirnet`` wrote, or a Hub id of one.
        features: ``y`` (frames, (channels, rows, columns)).
        dtype: compute and storage type.
        resize: ``squash`` (None too) or ``letterbox``, whose padding is black.
        image_size: (height, width) of the network input in pixels, multiples of 32; None is 768 x 768.
        frame_size: of the dataset; the network input does not follow it.
        options: see :data:`OPTIONS`.
        revision: commit, tag or branch of a Hub repository.
        hash_cache: folder that remembers file hashes.
        hub_cache: the Hub's cache folder; None is the Hub's default.

    Raises:
        WeightsError: files are missing, the checkpoint is of another kind, or it needs depth images.
        ConfigError: an unknown feature or option, an option's value that cannot be, or an impossible image size.
    """
    require_features("CeDiRNet", FEATURES, features)
    chosen = read_options("CeDiRNet", OPTIONS, options)
    detector = read_detector(checkpoint, revision=revision, hub_cache=hub_cache)
    channels, image = _channels(chosen["channels"]), _image_spec(image_size, resize)
    pool = _pool(chosen["pool"], image)
    digest = weights_sha256(checkpoint, DETECTOR, revision=revision, hash_cache=hash_cache, hub_cache=hub_cache)
    compute = {
        "backbone": "cedirnet",
        "weights": {DETECTOR: digest},
        "image": asdict(image),
        "dtype": dtype,
        "numerics": NUMERICS,
        "tap": "maps",
        "channels": channels,
        "pool": pool,
        "detector": asdict(detector),
    }
    grid = (image.height // pool, image.width // pool)
    layout = TokenLayout(grid=grid)
    return tuple(FeatureSpec("y", "frame", (len(channels), *grid), layout, image, dtype, compute) for _ in features)


def read_detector(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> DetectorShape:
    """The detector a checkpoint holds; WeightsError unless it is a converted CeDiRNet for RGB."""
    if Path(checkpoint).is_file():
        raise WeightsError(
            f"{checkpoint} is a file",
            expected="a converted checkpoint's directory",
            remedy="convert it once with `vtt weights convert-cedirnet FILE --out DIR`",
        )
    detector, _ = shape_of(read_json(checkpoint, CONFIG, revision=revision, hub_cache=hub_cache), checkpoint)
    if detector.in_channels != 3:
        raise WeightsError(
            f"the CeDiRNet in {checkpoint} does not work on RGB alone",
            found=f"{detector.in_channels} input channels",
            expected="3",
            remedy="convert an RGB checkpoint, such as ConvNext-B-RGB.pth",
        )
    return detector


def _channels(given: JsonValue) -> list[int]:
    kept = [value for value in given if type(value) is int and 0 <= value < CHANNELS] if isinstance(given, list) else []
    if not isinstance(given, list) or not kept or len(set(kept)) != len(given):
        raise ConfigError(
            "CeDiRNet has no such channels", found=given, expected=f"different numbers from 0 to {CHANNELS - 1}"
        )
    return kept


def _image_spec(size: tuple[int, int] | None, resize: Resize | None) -> ImageSpec:
    height, width = size or DEFAULT_SIZE
    if height % STRIDE or width % STRIDE or min(height, width) < STRIDE:
        raise ConfigError(
            f"CeDiRNet's input has sides that are multiples of {STRIDE}",
            found=f"{height} x {width} pixels",
            remedy=f"image_size {max(height // STRIDE, 1) * STRIDE} x {max(width // STRIDE, 1) * STRIDE}",
        )
    return ImageSpec(height, width, resize or "squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _pool(given: JsonValue, image: ImageSpec) -> int:
    if type(given) is not int or given < 1 or image.height % given or image.width % given:
        raise ConfigError(
            "CeDiRNet's maps cannot be pooled so",
            found=given,
            expected=f"a positive number that divides {image.height} and {image.width}",
        )
    return given
