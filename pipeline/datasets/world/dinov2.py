"""The embedded DINOv2: transformers' own class at a small size, and its pretraining.

Random weights would make its tokens pixel noise that no language model's 7x7 cells can predict; the real DINOv2 is
pretrained, and so is its stand-in, on the random scenes of :mod:`.pretext`: which share of every cell each object
covers, the mean colour of every patch, and, from the CLS token, what is held and what was placed. The readouts are
thrown away.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, WeightsError
from .checkpoints import IMAGE_SIZE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import Dinov2Model

    from .pretraining import PretrainConfig
    from .samples import Batch, Sampler

WEIGHTS = Path(__file__).parent / "weights" / "dinov2.safetensors"
FILE = "dinov2.safetensors"
CONFIG: dict[str, Any] = {
    "hidden_size": 96,  # channels of E
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "mlp_ratio": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": 14,
    "layerscale_value": 1.0,
    "drop_path_rate": 0.0,
}


def write_dinov2(directory: Path, *, pretrained: bool = True, seed: int = 0) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as transformers does.

    Args:
        directory: where; must not exist yet, or be empty.
        pretrained: the shipped weights, or (False) the untrained twin, drawn from ``seed``.
        seed: of the untrained weights.

    Raises:
        ConfigError: the directory holds something already.
        WeightsError: the package was installed without its weights, or they do not fit.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty", expected="a new directory", remedy="choose another --out")
    if pretrained and not WEIGHTS.is_file():
        raise WeightsError(
            "the package holds no pretrained DINOv2", expected=WEIGHTS, remedy="run `vtt world pretrain --only dinov2`"
        )
    model = build_dinov2(seed=seed)
    if pretrained:
        load_weights(model, WEIGHTS)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    return directory


def build_dinov2(*, seed: int = 0) -> "Dinov2Model":
    """The untrained model in float32; its weights depend on ``seed`` alone."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Dinov2Model(Dinov2Config(**CONFIG)).eval()


def load_weights(model: "Dinov2Model", path: Path) -> None:
    """Fill a model from a file of bf16 tensors, strictly; raises WeightsError if they do not fit."""
    from safetensors.torch import load_file

    try:
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the embedded DINOv2",
            found=str(error)[:300],
            remedy="run `vtt world pretrain --only dinov2` again with this version",
        ) from None


def pretrain_dinov2(config: "PretrainConfig") -> dict[str, Any]:
    """Train, resume if a checkpoint is there, save ``dinov2.safetensors`` (bf16) and return the held-out scores."""
    import torch
    from torch import nn
    from transformers import AutoTokenizer

    from .checkpoints import write_tokenizer
    from .pretraining import run_pretraining
    from .samples import Sampler

    config.out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(config.out / "tokenizer")  # the batches hold phrases too
    tokenizer = AutoTokenizer.from_pretrained(config.out / "tokenizer")
    encoder = build_dinov2(seed=config.seed)
    torch.manual_seed(config.seed)
    model = nn.ModuleDict({"encoder": encoder, "heads": _readouts()})
    train, held_out = (Sampler(d, tokenizer, seed=config.seed) for d in (config.data, config.held_out))
    scores = run_pretraining(
        config,
        model,
        lambda step: losses(model, train.batch(step, config.batch_size)),
        lambda: evaluate(model, held_out),
    )
    _export(encoder, config.out / FILE)
    return scores


def losses(model: "nn.ModuleDict", batch: "Batch") -> "dict[str, Tensor]":
    """The pretext's terms: object shares and colours of the patches, the states that the CLS token tells."""
    import torch.nn.functional as F

    heads: Any = model["heads"]
    tokens = model["encoder"](pixel_values=batch.pixels).last_hidden_state  # (b, 257, d)
    side = int((tokens.shape[1] - 1) ** 0.5)
    shares = shares_of(model, tokens)  # (b, o, 14, 14)
    colour = F.avg_pool2d(batch.pixels, CONFIG["patch_size"]).flatten(2).transpose(1, 2)  # (b, 256, 3)
    assert colour.shape[1] == side * side
    return {
        "shares": 8 * F.binary_cross_entropy_with_logits(shares, batch.shares),
        "colour": 0.2 * F.l1_loss(heads["colour"](tokens[:, 1:]), colour),
        "state": 0.1 * F.cross_entropy(heads["held"](tokens[:, 0]), batch.held)
        + 0.1 * F.cross_entropy(heads["placed"](tokens[:, 0]), batch.placed),
    }


def shares_of(model: "nn.ModuleDict", tokens: "Tensor") -> "Tensor":
    """Logits (b, o, 14, 14) of the objects' shares, read linearly from the patch tokens (b, 1 + 16 * 16, d)."""
    import torch.nn.functional as F

    heads: Any = model["heads"]
    logits: Tensor = heads["shares"](tokens[:, 1:])  # (b, 256, o)
    side = int(logits.shape[1] ** 0.5)
    maps = logits.transpose(1, 2).reshape(len(logits), -1, side, side)
    return F.interpolate(maps, size=(14, 14), mode="bilinear", align_corners=False)


def evaluate(model: "nn.ModuleDict", sampler: "Sampler", size: int = 32) -> dict[str, float]:
    """Held-out average precision per object on 7x7 cells (share >= 0.1), read linearly from the patch tokens."""
    import numpy as np
    import torch

    from ...metrics.curves import average_precision
    from .samples import SEEN, subcells

    logits, truth, size = [], [], min(size, len(sampler))
    with torch.inference_mode():
        for k in range(len(sampler) // size):
            batch = sampler.batch(k, size, augment=False)
            tokens = model["encoder"](pixel_values=batch.pixels).last_hidden_state
            logits.append(subcells(shares_of(model, tokens)).amax(-1).numpy())  # (b, 49, o)
            truth.append(subcells(batch.shares).mean(-1).numpy() >= 0.1)
    found, true = np.concatenate(logits), np.concatenate(truth)
    return {name: round(average_precision(found[..., i], true[..., i]), 4) for i, name in enumerate(SEEN) if i >= 2}


def _readouts() -> "nn.ModuleDict":
    from torch import nn

    from .language import COLOURS
    from .samples import SEEN

    width, states = CONFIG["hidden_size"], 1 + len(COLOURS)
    sizes = {"shares": len(SEEN), "colour": 3, "held": states, "placed": states}
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


def _export(model: "torch.nn.Module", path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.bfloat16().contiguous() for name, value in model.state_dict().items()}, path)
