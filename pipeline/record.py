"""What a run says about itself (``run.json``): enough to know where every number came from."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .spec import FeatureSpec

SCHEMA = 1
PACKAGES = ("visual-thought", "torch", "numpy", "pyarrow", "safetensors", "transformers", "lerobot")


@dataclass(frozen=True)
class RunRecord:
    """Where a run came from. Written once when the run starts; resuming checks against it."""

    task: str
    """The task's name."""
    seed: int
    """The seed everything random follows from."""
    config: Mapping[str, Any]
    """The whole config, defaults included."""
    features: Mapping[str, Mapping[str, Any]]
    """The task's feature names -> the specs (:meth:`FeatureSpec.to_json`) of the arrays that were read."""
    index_ids: Mapping[str, tuple[str, ...]]
    """The task's feature names -> the store's indexes that were read."""
    store: str
    """Absolute path of the store."""
    manifest: Mapping[str, Any]
    """Name, dataset, revision and content hash of the data manifest and its labels."""
    splits: Mapping[str, Mapping[str, Any]]
    """Split -> its episodes and number of examples."""
    device: str
    """The device the run was computed on, in words."""
    processes: int = 1
    """How many processes shared each step when the run started."""
    command: tuple[str, ...] = ()
    """The command line."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Python and package versions."""
    commit: str | None = None
    """The source tree's commit, if it has one; ``+changes`` when files differ from it."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """The task's feature names -> the command that extracted the feature, as far as the store's receipts say."""
    schema: int = SCHEMA
    """Version of this file's layout."""

    def spec(self, feature: str) -> FeatureSpec:
        """The spec of one feature by the task's name; KeyError for any other name."""
        return FeatureSpec.from_json(self.features[feature])

    @property
    def fingerprints(self) -> dict[str, str]:
        """The compute fingerprint of every feature, by the task's names."""
        return {name: self.spec(name).fingerprint for name in self.features}

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that :meth:`from_json` turns back into an equal record."""
        data = {item.name: getattr(self, item.name) for item in fields(self)} | {"fingerprints": self.fingerprints}
        plain: dict[str, Any] = json.loads(json.dumps(data))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunRecord":
        """Rebuild a record from :meth:`to_json`'s dictionary; raises TypeError or KeyError on any other shape."""
        values = {name: value for name, value in data.items() if name != "fingerprints"}
        values["command"] = tuple(values["command"])
        values["index_ids"] = {name: tuple(ids) for name, ids in values["index_ids"].items()}
        return cls(**values)


def write_record(path: Path, record: RunRecord) -> None:
    """Write ``run.json`` under its final name in one step, durably; OSError leaves what was there, and nothing else."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(record.to_json(), indent=1, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(path: Path) -> RunRecord:
    """Read ``run.json``.

    Raises:
        ConfigError: there is none, it is of a newer layout, or it is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.parent} holds no run", found=error.strerror, expected=path.name) from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged", found=error) from None
    if not isinstance(data, dict) or data.get("schema", 0) > SCHEMA:
        raise ConfigError(f"{path} was written by a newer version", expected=f"schema {SCHEMA} or older")
    try:
        return RunRecord.from_json(data)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged", found=error) from None


def installed_versions() -> dict[str, str]:
    """Python's and the packages' versions; packages that are not installed are left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def source_commit() -> str | None:
    """The commit of the source tree this package runs from; None outside a repository or without git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> tuple[str, ...]:
    """The command line of this process."""
    return tuple(sys.argv)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
