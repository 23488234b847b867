"""What a training run is told: a recipe (YAML) and a few paths, as strict frozen dataclasses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

from ..pipeline.config import apply_overrides, build, load_yaml, refuse_outside
from ..pipeline.errors import ConfigError
from ..pipeline.place import Place

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DecoderConfig:
    """The Visual-Thought decoder (see :class:`~visual_thought.train.decoder.VisualThoughtDecoder`)."""

    dim: int
    """Channels D_T of the visual-thought tokens; 0: as the task prescribes (``distill``)."""
    num_layers: int
    """Decoder layers L."""
    num_queries: int = 1
    """Visual-thought tokens M; grounding uses one; 0: as the task prescribes (``distill``, ``dense``)."""
    num_heads: int = 32
    """Attention heads; must divide ``dim``."""
    ffn_ratio: float = 4.0
    """Hidden width of the feed-forward network over ``dim``."""
    dropout: float = 0.0
    """Dropout in attention, feed-forward network and token projection."""
    query_positions: bool = False
    """Add a second learned table to the queries."""
    query_grid: tuple[int, int] | None = None
    """The cells that the queries stand for: that table starts as their code; [0, 0]: as the task prescribes."""
    ffn_gate: bool = False
    """Zero-initialised tanh gate on the feed-forward branch."""

    def __post_init__(self) -> None:
        counts = {"dim": (0, inf), "num_layers": (1, inf), "num_queries": (0, inf), "num_heads": (1, inf)}
        refuse_outside("decoder", self, counts | {"ffn_ratio": (0, inf), "dropout": (0, 1)})


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. Norms, biases and query banks do not decay."""

    lr: float
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices and kernels."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the two moment averages."""
    grad_clip_norm: float = 1.0
    """Largest gradient norm, per contender; 0 clips nothing."""

    def __post_init__(self) -> None:
        refuse_outside("optimizer", self, {"lr": (0, inf), "weight_decay": (0, inf), "grad_clip_norm": (0, inf)})
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError("optimizer.betas are no decays", found=self.betas, expected="0 <= beta < 1, both")


@dataclass(frozen=True)
class SchedulerConfig:
    """The learning rate over the steps: a linear warm-up, then constant or a half cosine."""

    name: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up."""
    warmup_steps: int = 0
    """Steps in which the rate rises linearly to its peak."""
    final_ratio: float = 0.0
    """Where the cosine ends, as a share of the peak."""

    def __post_init__(self) -> None:
        refuse_outside("scheduler", self, {"warmup_steps": (0, inf), "final_ratio": (0, 1)})


@dataclass(frozen=True)
class LoaderConfig:
    """How rows come from the store. Nothing but ``shuffle`` and its window changes which samples a step sees."""

    residency: Literal["auto", "disk", "ram", "gpu"] = "auto"
    """``ram`` and ``gpu`` load every row the run needs once; ``auto`` takes the first of gpu, ram, disk that holds
    them within ``memory_share``."""
    memory_share: float = 0.5
    """Share of the memory free at the start (the device's own for ``gpu``) that rows may take."""
    shuffle: Literal["full", "window"] = "full"
    """``full`` draws from all examples of an epoch; ``window``, for stores that are cold or far away, takes the parts
    in random order and draws from ``window_parts`` of them at a time, while the next ones are read ahead."""
    window_parts: int = 8
    """Parts a window."""
    engine: Literal["auto", "direct", "library"] = "auto"
    """``direct`` reads the store's files itself, ``library`` through zarr-python or h5py, far slower."""
    threads: int = 2
    """Reader threads."""
    depth: int = 4
    """Batches kept ready in reusable buffers."""
    verify: Literal["first", "always", "never"] = "first"
    """When a row's checksum is checked: at its first read in this process, always, or never."""
    allow_partial: bool = False
    """Train although planned rows are missing from the store; the record says how many were left out."""

    allow_skipped: bool = False
    """Train although the extraction left out episodes whose frames are damaged; the record's splits are without
    them."""

    allow_nan: bool = False
    """Train without the rows that are NaN or infinite; the record says how many were left out."""

    @property
    def may_lack_rows(self) -> bool:
        """Whether labels may be without a row."""
        return self.allow_partial or self.allow_nan

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("threads", "depth", "window_parts"), (1, inf))
        refuse_outside("loader", self, counts | {"memory_share": (0, 1)})


@dataclass(frozen=True)
class WandbConfig:
    """Weights & Biases, beside the run's own files. Whatever fails there is one warning, never the end of the run."""

    enable: bool = False
    """Send metrics to Weights & Biases; needs the package ``wandb``."""
    project: str = "visual-thought"
    """Its project."""
    mode: Literal["online", "offline", "disabled"] = "offline"
    """``offline`` writes into the run folder, for ``wandb sync`` to send later."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    ``head`` and ``objective`` are read by the task, as strictly as everything else; every other key means the same
    in all tasks.
    """

    task: str
    """What is learned, by its name in the registry (``ground``)."""
    store: Place
    """The feature store to read: a folder or a URL."""
    manifest: str
    """The data manifest (a name or a path) that says which episodes, splits and labels."""
    out: Path
    """The run folder; must not hold a run unless ``resume``."""
    features: Mapping[str, str]
    """The task's name of each feature -> a feature of the store: ``z`` (if there is only one) or ``z-1a2b3c4d``."""
    decoder: DecoderConfig
    """The decoder that every contender but a probe puts before its head."""
    optimizer: OptimizerConfig
    """The optimiser, one a contender."""
    steps: int
    """Optimiser steps."""
    batch_size: int
    """Examples a step, of all micro-batches and processes together."""
    head: Mapping[str, Any] = field(default_factory=dict)
    """The head; its keys are the task's."""
    objective: Mapping[str, Any] = field(default_factory=dict)
    """The objective; its keys are the task's."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """The learning rate over the steps."""
    controls: tuple[str, ...] = ()
    """Controls trained beside the head on the same batches; their names are the task's."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints (64 hex digits) that features must have; a store with another one is refused."""
    seed: int = 0
    """Everything random follows from it: initial weights, sample order, dropout, the blind control."""
    order_seed: int | None = None
    """Seed of what is read: the sample order, the blind control's draws, the training examples that validations score;
    null: ``seed``. Runs of several seeds that share it see the same batches."""
    accumulate: int = 1
    """Micro-batches that each process cuts its share of a step's examples into: less memory, the same gradient; costs
    one more forward pass, without gradients, that counts what every term of the loss is averaged over."""
    ema_decay: float = 0.0
    """Decay of a moving average of the weights (0: none), which then is what is validated, saved and loaded; in the
    first steps s it is (1 + s) / (10 + s), if that is less."""
    compile: bool = False
    """Compute the training loss through ``torch.compile``; validations and checkpoints know nothing of it."""
    early_stop: int = 0
    """End the run after this many validations in a row without a better one of the head (0: never)."""
    eval_freq: int = 1000
    """Steps between validations; each may become a contender's best checkpoint."""
    save_freq: int = 0
    """Steps between checkpoints that are kept for good (0: none but the best and the last ones)."""
    log_freq: int = 50
    """Steps between lines of training metrics."""
    keep_last: int = 2
    """Newest checkpoints kept besides the best and those of ``save_freq``."""
    eval_train_rows: int = 512
    """Training examples that every validation also scores in eval mode (0: none)."""
    eval_batch_size: int = 128
    """Examples a validation batch; does not change any number beyond rounding."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1`` …; ``auto`` takes the accelerator if there is one, and the record says which."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16``: autocast of the forward pass; weights and optimiser stay in float32."""
    loader: LoaderConfig = LoaderConfig()
    """How rows come from the store."""
    tensorboard: bool = True
    """Write TensorBoard files besides ``metrics.jsonl``."""
    wandb: WandbConfig = WandbConfig()
    """Weights & Biases."""
    progress: bool = True
    """Show a progress bar on stderr."""
    resume: bool = False
    """Continue the run in ``out`` from its last checkpoint."""

    @property
    def reading_seed(self) -> int:
        """The seed of what is read."""
        return self.seed if self.order_seed is None else self.order_seed

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "eval_freq": 1, "log_freq": 1, "keep_last": 1, "eval_batch_size": 1}
        least |= {"accumulate": 1, "early_stop": 0, "save_freq": 0, "eval_train_rows": 0}
        refuse_outside("", self, {name: (low, inf) for name, low in least.items()})
        if self.accumulate > self.batch_size:
            raise ConfigError(
                "accumulate cuts a step into more micro-batches than it has examples",
                found=self.accumulate,
                expected=f"at most batch_size, {self.batch_size}",
            )
        if not 0.0 <= self.ema_decay < 1.0:
            raise ConfigError("ema_decay is no decay", found=self.ema_decay, expected="0 (none) or 0 < decay < 1")


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """A recipe as plain data: a name of the package's own, or a path to a YAML file.

    Raises:
        ConfigError: there is no such recipe (the names are listed), or it cannot be read.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        if path.name != str(name_or_path) or path.name not in recipe_names():
            raise ConfigError(
                f"there is no recipe {str(name_or_path)!r}",
                expected=recipe_names(),
                remedy="name one of these, or give the path of a .yaml file",
            )
        path = RECIPES / f"{path.name}.yaml"
    return load_yaml(path)


def build_config(
    recipe: str | Path, overrides: Sequence[str] = (), *, store: Place, manifest: str, out: Path, resume: bool = False
) -> TrainConfig:
    """The config of a run: a recipe, ``key=value`` overrides, and where to read and write.

    Raises:
        ConfigError: an unknown recipe, key or value.
    """
    mapping = apply_overrides(load_recipe(recipe), overrides)
    places = {"store": store, "manifest": manifest, "out": out, "resume": resume}
    return build(TrainConfig, {**mapping, **places}, source=f"recipe {recipe}")
