"""What an extraction is asked for, and what it answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..pipeline.errors import ConfigError
from ..pipeline.place import Place
from ..pipeline.spec import Resize


@dataclass(frozen=True)
class ExtractConfig:
    """One extraction: which dataset, which backbone, which features, into which store."""

    manifest: str | Path
    """A data manifest: a YAML file, or the name of one that comes with the package."""
    store: Place
    """The feature store's folder or URL; created if it is not there."""
    checkpoint: str = "lerobot/xvla-base"
    """The backbone's weights: a directory, or a Hub id."""
    checkpoint_revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; None is its main branch."""
    backbone: str = "xvla"
    """The backbone's name in the registry."""
    features: tuple[str, ...] = ("z", "r")
    """The features to extract, all in one pass: for X-VLA ``z`` (fused tokens) and ``r`` (vision-tower map)."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1``, …; ``auto`` is the first CUDA device if there is one, else the CPU."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Compute and storage type. ``bf16`` is autocast, its outputs rounded to bfloat16."""
    store_format: Literal["zarr", "hdf5"] = "zarr"
    """The format of new arrays; an array that is there already is finished in its own."""
    batch_size: int = 16
    """Frames a batch. Batches are cut at multiples of it in the frame table's order; halved if memory runs out."""
    resize: Resize | None = None
    """``squash`` or ``letterbox``; None is the checkpoint's own setting."""
    image_size: tuple[int, int] | None = None
    """(height, width) of the network input in pixels; None is the checkpoint's own."""
    expect_fingerprint: Mapping[str, str] = field(default_factory=dict)
    """Feature name -> the fingerprint (or its first digits) it must have; anything else is refused."""
    keep_free_bytes: int = 256 * 2**20
    """Space on the store's disk that stays free: an extraction that would use it does not start."""
    hash_cache: Path | None = None
    """Folder that remembers the hashes of weight and dataset files; None hashes them every time."""
    lerobot_home: Path | None = None
    """Where LeRobot keeps datasets, for a manifest without ``root``."""
    hub_cache: Path | None = None
    """The Hub's cache folder; None is the Hub's own default."""
    on_error: Literal["stop", "skip-episode"] = "stop"
    """What a missing or damaged frame does: end the extraction, or leave out its episode. What was left out is written
    into the store, and training refuses it unless told otherwise."""
    progress: bool = True
    """Show a progress bar on stderr."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.batch_size < 1:
            raise ConfigError("batch_size must be positive", found=self.batch_size)
        if not self.features or len(set(self.features)) != len(self.features):
            raise ConfigError("features must be different names, at least one", found=self.features)
        if unknown := sorted(set(self.expect_fingerprint) - set(self.features)):
            raise ConfigError("expect_fingerprint names features that are not extracted", found=unknown)


@dataclass(frozen=True)
class StoredFeature:
    """One feature of a store after an extraction, counted over the rows that were asked for."""

    name: str
    """The name recipes use."""
    key: str
    """The name of its arrays, ``<name>-<first 8 digits of the fingerprint>``."""
    fingerprint: str
    """The full fingerprint of the computation that made it."""
    rows: int
    """Rows asked for, all present now."""
    parts_written: int
    """Parts this extraction committed."""
    parts_reused: int
    """Parts that were there already."""


@dataclass(frozen=True)
class StoreManifest:
    """What ``extract`` returns: where the features are, what they are, and what it took."""

    store: Place
    """The feature store's folder or URL."""
    features: tuple[StoredFeature, ...]
    """One entry a feature asked for."""
    frames: int
    """Frames that ran through the backbone."""
    seconds: Mapping[str, float]
    """``total`` wall time, and busy time of ``load``, ``decode``, ``forward``, ``write`` (these overlap)."""
    skipped: tuple[str, ...] = ()
    """Episodes that were left out, and why."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self) | {"store": str(self.store)}

    def render(self) -> str:
        """The same as text for people."""
        lines = [f"{self.store}" if self.frames else f"{self.store}: nothing to extract"]
        for feature in self.features:
            parts = f"{feature.parts_written} parts written, {feature.parts_reused} were there"
            lines.append(f"  {feature.key}  {feature.rows} rows, {parts}")
        lines += [f"  left out: {reason}" for reason in self.skipped]
        spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items())
        return "\n".join([*lines, f"  {self.frames} frames; {spent}"])
