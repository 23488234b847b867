"""What an extraction is asked for, and what it answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..pipeline.errors import ConfigError
from ..pipeline.place import Place
from ..pipeline.spec import Resize
from ..pipeline.words import counted
from .share import check_share


@dataclass(frozen=True)
class BackboneConfig:
    """One frozen backbone: what kind, which weights, which of its features."""

    kind: str = "xvla"
    """Its name in the registry."""
    checkpoint: str = "lerobot/xvla-base"
    """Its weights: a directory, or a Hub id."""
    revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; None is its main branch."""
    features: tuple[str, ...] = ()
    """What to extract; empty is everything of :attr:`ExtractConfig.features` that this kind makes."""
    resize: Resize | None = None
    """``squash`` or ``letterbox``; None is the checkpoint's own setting."""
    image_size: tuple[int, int] | None = None
    """(height, width) of the network input in pixels; None is the checkpoint's own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backbone's own options, by name."""


@dataclass(frozen=True)
class ExtractConfig:
    """One extraction: which dataset, which backbones, which features, into which store."""

    manifest: str | Path
    """A data manifest: a YAML file, or the name of one that comes with the package."""
    store: Place
    """The feature store's folder or URL; created if it is not there."""
    backbones: tuple[BackboneConfig, ...] = ()
    """The backbones that one pass over the videos feeds; empty is the one of the next three fields."""
    checkpoint: str = "lerobot/xvla-base"
    """The backbone's weights: a directory, or a Hub id."""
    checkpoint_revision: str | None = None
    """Commit, tag or branch of a Hub checkpoint; None is its main branch."""
    backbone: str = "xvla"
    """The backbone's name in the registry."""
    features: tuple[str, ...] | None = ("z", "r")
    """The features to extract, all in one pass: for X-VLA ``z`` (fused tokens) and ``r`` (vision-tower map). None is
    everything that the backbones make."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1``, …; ``auto`` is the first CUDA device if there is one, else the CPU."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Compute and storage type. ``bf16`` is autocast, its outputs rounded to bfloat16."""
    store_format: Literal["zarr", "hdf5"] = "zarr"
    """The format of new arrays; an array that is there already is finished in its own."""
    batch_size: int | Literal["auto"] = 16
    """Frames a batch. Batches are cut at multiples of it in the frame table's order; halved if memory runs out.
    ``auto`` is the size that unfinished arrays were begun with, else the fastest on the first frames."""
    compile: bool = False
    """Run what backbones do once a frame through ``torch.compile``; features may differ in the last bits, as between
    two machines."""
    decode_threads: int | None = None
    """Episodes decoded at once; None is one for every two cores, at most 8, and 1 beside a backbone on the CPU."""
    stall_timeout_s: float = 300.0
    """An extraction stops with an error if decoding or writing makes no progress for so long."""
    resize: Resize | None = None
    """As in :class:`BackboneConfig`, of the one backbone."""
    image_size: tuple[int, int] | None = None
    """As in :class:`BackboneConfig`, of the one backbone."""
    expect_fingerprint: Mapping[str, str] = field(default_factory=dict)
    """Feature name -> the fingerprint (or its first digits) it must have; anything else is refused."""
    part: tuple[int, int] | None = None
    """(i, N): only the i-th of N parts of the work, counted from 1; None is all of it."""
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
    nan: Literal["stop", "record"] = "stop"
    """A feature that is NaN or infinite: ``stop``, or ``record`` it, counted in the receipt; training refuses it."""
    without_episodes: tuple[int, ...] | None = None
    """Episodes to leave out because somebody proved already which are damaged; None lets ``on_error`` find out."""
    progress: bool = True
    """Show a progress bar on stderr."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ConfigError("batch_size must be positive, or auto", found=self.batch_size)
        if self.decode_threads is not None and self.decode_threads < 1:
            raise ConfigError("decode_threads must be positive", found=self.decode_threads)
        if self.stall_timeout_s <= 0:
            raise ConfigError("stall_timeout_s must be positive", found=self.stall_timeout_s)
        for names in (self.features, *(backbone.features or None for backbone in self.backbones)):
            if names is not None and (not names or len(set(names)) != len(names)):
                raise ConfigError("features must be different names, at least one", found=names)
        if self.part is not None:
            check_share(self.part)
        named = {name for backbone in self.chosen for name in backbone.features}
        if unknown := sorted(set(self.expect_fingerprint) - named - set(self.features or self.expect_fingerprint)):
            raise ConfigError("expect_fingerprint names features that are not extracted", found=unknown)

    @property
    def chosen(self) -> tuple[BackboneConfig, ...]:
        """The backbones, at least one."""
        alone = BackboneConfig(
            kind=self.backbone,
            checkpoint=self.checkpoint,
            revision=self.checkpoint_revision,
            features=self.features or (),
            resize=self.resize,
            image_size=self.image_size,
        )
        return self.backbones or (alone,)


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
            parts = f"{counted(feature.parts_written, 'part')} written, {feature.parts_reused} were there"
            lines.append(f"  {feature.key}  {feature.rows} rows, {parts}")
        lines += [f"  left out: {reason}" for reason in self.skipped]
        spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items())
        return "\n".join([*lines, f"  {self.frames} frames; {spent}"])
