"""The authors' .pth files, once, into safetensors: the only place where a pickled file is opened, in its own process.

    python -m visual_thought.extract.backbones.cedirnet.convert FILE OUT [LOCALISER]

The child opens the file with ``weights_only`` and numpy's scalar types allowed (the files hold logged losses); what it
hands on is safetensors and a JSON text. Whatever happens in it, the parent reads nothing else.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....pipeline.errors import ConfigError, WeightsError
from .files import CONFIG, DETECTOR, KIND, LOCALISER

_PREFIX, _CENTRE = "module.", "instance_center_estimator."
_REFUSED = 9  # the child's exit code for a message meant for people
_LIMIT_S = 600


def convert(file: Path, out: Path, *, localiser: Path | None = None, sha256: str | None = None) -> dict[str, Any]:
    """Convert a published checkpoint into ``out``: ``model.safetensors``, ``config.json``, and the localiser if any.

    Args:
        file: ConvNext-B-RGB.pth and its like.
        out: a folder that is new or empty.
        localiser: localization_checkpoint.pth, if ``file`` holds no usable localiser.
        sha256: what ``file`` must hash to.

    Returns:
        What ``config.json`` says.

    Raises:
        ConfigError: ``out`` holds something already.
        WeightsError: another hash than ``sha256``, no such checkpoint, or a localiser without running statistics.
    """
    for path in (file, *([localiser] if localiser else [])):
        if not path.is_file():
            raise WeightsError(f"{path} is no file", remedy="download it from the authors' page first")
    found = file_sha256(file)
    if sha256 is not None and found != sha256.lower():
        raise WeightsError(f"{file} is another file than expected", found=found, expected=sha256.lower())
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty", remedy="name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __spec__.name, str(file), str(out), *([str(localiser)] if localiser else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        for name in (DETECTOR, LOCALISER, CONFIG):
            (out / name).unlink(missing_ok=True)
        raise WeightsError(
            f"{file} cannot be converted",
            found=said[0],
            expected="a CeDiRNet-3DoF checkpoint as the authors publish it",
            remedy="give --localiser localization_checkpoint.pth" if "running statistics" in said[0] else None,
        )
    config: dict[str, Any] = json.loads((out / CONFIG).read_text())
    return config


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_state(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Detector and localiser tensors of the authors' dictionary, under their plain names.

    Raises:
        WeightsError: it is no such dictionary.
    """
    detector = checkpoint.get("model_state_dict")
    if not isinstance(detector, Mapping):
        raise WeightsError("no model_state_dict in the file", found=sorted(map(str, checkpoint)))
    centre = checkpoint.get("center_model_state_dict")
    return _plain(detector), localiser_state(centre) if isinstance(centre, Mapping) and centre else None


def localiser_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The localiser's tensors under their plain names."""
    plain = {name: value for name, value in _plain(state).items() if name.startswith(_CENTRE)}
    return {name.removeprefix(_CENTRE): value for name, value in plain.items()}


def has_statistics(state: Mapping[str, Any] | None) -> bool:
    """Whether a localiser can be used: the 3DoF trainer leaves its running statistics out."""
    return state is not None and any(name.endswith("running_mean") for name in state)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).removeprefix(_PREFIX): value for name, value in state.items()}


def _run(arguments: list[str]) -> None:
    import torch
    from safetensors.torch import save_file

    from .localiser import Localiser
    from .network import CeDiRNetDetector, infer_shape

    file, out = Path(arguments[0]), Path(arguments[1])
    detector, localiser = split_state(_load(file))
    if len(arguments) > 2:
        other = _load(Path(arguments[2]))
        localiser = localiser_state(other.get("center_model_state_dict") or other)
    if localiser is not None and not has_statistics(localiser):
        raise WeightsError("its localiser has no running statistics: the 3DoF trainer saves none")
    shape = infer_shape(detector)
    with torch.device("meta"):
        wanted = set(CeDiRNetDetector(shape).state_dict())
        wanted_localiser = set(Localiser().state_dict())
    tensors = {name: value.contiguous().float() for name, value in detector.items() if name in wanted}
    if missing := sorted(wanted - set(tensors)):
        raise WeightsError(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    save_file(tensors, out / DETECTOR)
    if localiser is not None:
        kept = {name: value.contiguous() for name, value in localiser.items() if name in wanted_localiser}
        save_file(kept, out / LOCALISER)
    config = {
        "kind": KIND,
        "detector": asdict(shape),
        "localiser": localiser is not None,
        "source": {"file": file.name, "sha256": file_sha256(file)},
    }
    (out / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _load(path: Path) -> Mapping[str, Any]:
    import numpy as np
    import torch

    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]  # what numpy rebuilds a scalar with
    numbers: list[Any] = [scalar, np.dtype, *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64))]
    with torch.serialization.safe_globals(numbers):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"it holds a {type(loaded).__name__}, not a dictionary")
    return loaded


if __name__ == "__main__":
    try:
        _run(sys.argv[1:])
    except Exception as error:  # one line for the parent, whatever it was
        print(" ".join(str(error).split())[:500], file=sys.stderr)
        sys.exit(_REFUSED)
