"""Reading a checkpoint that may come from anywhere: no size believed, no path followed out of it, nothing run.

A checkpoint lists its files in ``files.json``. Weights are safetensors: their header is read first, and what it
announces must be what the config makes, so that a file can be no larger than the model it claims to be.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..pipeline.errors import WeightsError
from ..pipeline.spec import FeatureSpec

LIST = "files.json"
MAX_JSON_BYTES = 64 << 20
MAX_FILES = 1000
MAX_ROW_NUMBERS = 1 << 28
SPARE_NUMBERS = 1 << 26
"""What a model may take for itself besides its weights, in numbers (codes of positions)."""

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16"}
_DTYPES |= {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


class Shape(NamedTuple):
    """What a header says of one tensor: its safetensors dtype and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_json(path: Path) -> Any:
    """Plain data of a JSON file; raises WeightsError if it is no regular file, too large or not JSON."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_JSON_BYTES:
                raise WeightsError(f"{path} is too large", found=f"{size} bytes", expected=f"at most {MAX_JSON_BYTES}")
            return json.loads(file.read(size))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read", found=error) from None


def listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The files of a checkpoint and what they should be, as its list says; raises WeightsError if that cannot be."""
    found = read_json(folder / LIST)
    if not isinstance(found, dict) or not 0 < len(found) <= MAX_FILES:
        raise WeightsError(f"{folder / LIST} is no list of files", expected=f"1 to {MAX_FILES} names")
    for name, said in found.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\0" in name or {"..", "."} & set(name.split("/")):
            raise WeightsError(f"{folder / LIST} names a file outside the checkpoint", found=name)
        if not isinstance(said, dict) or set(said) != {"bytes", "sha256"} or type(said["bytes"]) is not int:
            raise WeightsError(f"{folder / LIST} does not say what {name} should be", found=said)
    return found


def fault(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """Why a checkpoint cannot be used, or None: these files of it (all, without names) are what was written."""
    try:
        listed = listed_files(folder)
        names = list(listed if names is None else names)
        absent = [name for name in names if name not in listed]
        wrong = [name for name in names if name in listed and not _is_as_said(folder / name, listed[name])]
    except (OSError, WeightsError) as error:
        return str(error)
    if absent:
        return f"{', '.join(absent)} is not among its files"
    return f"{', '.join(wrong)} is not what was written" if wrong else None


def describe(data: bytes) -> dict[str, Any]:
    """What the list says of a file that holds these bytes."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_header(path: Path) -> dict[str, Shape]:
    """The tensors that a safetensors file announces; raises WeightsError if it is none. Reads no weights."""
    try:
        os.close(_open_regular(str(path), os.O_RDONLY))
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return {name: Shape(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read", found=error) from None


def read_tensors(path: Path, expected: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The tensors of a safetensors file that holds exactly these.

    Raises:
        WeightsError: it holds others, or cannot be read.
    """
    refuse_others(path, read_header(path), expected)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read", found=error) from None
    return tensors


def refuse_others(path: Path, found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """WeightsError if a file announces other tensors than are expected; names the first that differ."""
    if dict(found) != dict(expected):
        raise WeightsError(
            f"{path} holds the weights of another model",
            found=_named(found, expected),
            expected=_named(expected, found),
            remedy="load it with the config it was trained with",
        )


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """What a header says of such tensors; nothing is read."""
    return {name: Shape(_DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def refuse_large_row(spec: FeatureSpec) -> None:
    """WeightsError for a feature that no store holds: what a head computes from a layout is no larger than a row."""
    size, tokens = math.prod(spec.shape), spec.layout.prefix + spec.layout.cells + spec.layout.text
    if min(spec.shape, default=0) < 1 or size > MAX_ROW_NUMBERS or not 0 < tokens <= size:
        shape = " x ".join(map(str, spec.shape))
        raise WeightsError(f"feature {spec.name} cannot be", found=f"shape {shape}, layout {spec.layout}")


@contextmanager
def metered(announced: Mapping[str, Shape], file: Path) -> Iterator[None]:
    """Modules made in here may take memory for what a file announces, twice over, and for what they compute.

    Raises:
        WeightsError: they ask for more; it is not taken.
    """
    with _Meter(2 * sum(math.prod(one.shape) for one in announced.values()) + SPARE_NUMBERS, file):
        yield


class _Meter(TorchFunctionMode):
    """Counts the numbers that tensors are made for, before they are."""

    factories = frozenset({"empty", "zeros", "ones", "full", "rand", "randn", "randint", "arange", "linspace", "eye"})

    def __init__(self, left: int, file: Path) -> None:
        super().__init__()
        self._left, self._file = left, file

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if getattr(func, "__name__", "") in self.factories:
            self._left -= _asked_for(args, options.get("size", ()))
            if self._left < 0:
                raise WeightsError(f"{self._file} is smaller than the model that its config makes")
        return func(*args, **options)


def _asked_for(args: Iterable[Any], size: Any) -> int:
    """The product of all whole numbers in the arguments of a function that makes a tensor."""
    sizes = [size, *args]
    flat = [number for one in sizes for number in (one if isinstance(one, (list, tuple)) else [one])]
    return math.prod(number for number in flat if type(number) is int and number > 0)


def _is_as_said(path: Path, said: Mapping[str, Any]) -> bool:
    """Reads no more than was announced."""
    with open(path, "rb", opener=_open_regular) as file:
        if os.fstat(file.fileno()).st_size != said["bytes"]:
            return False
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest == str(said["sha256"])


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file, or what a link to one leads to (the Hub's cache is made of these); OSError otherwise."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


def _named(shapes: Mapping[str, Shape], others: Mapping[str, Shape]) -> list[str]:
    differing = [name for name, shape in shapes.items() if others.get(name) != shape]
    lines = [f"{name} {shapes[name].dtype} {list(shapes[name].shape)}" for name in differing[:4]]
    return [*lines, f"… {len(differing) - 4} more"] if len(differing) > 4 else lines
