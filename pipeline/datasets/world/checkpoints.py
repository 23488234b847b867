"""The embedded X-VLA: lerobot's own class at a small size, its processors, and a local tokenizer.

A checkpoint directory is what ``XVLAPolicy.save_pretrained`` and the processors write (``config.json``,
``model.safetensors``, ``policy_preprocessor.json``, …) plus the tokenizer's files, so that one path serves as both.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, WeightsError
from .language import corpus

if TYPE_CHECKING:
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy

WEIGHTS = Path(__file__).parent / "weights" / "xvla.safetensors"
TOKENIZER_MAX_LENGTH = 16
IMAGE_SIZE = 224
WIDTH = 96  # channels of Z
TOWER_WIDTH = 96  # channels of R
ACTION_STEPS = 8
STATE_SIZE = 6
CAMERAS = ("main", "top")

# 224 px gives maps of 56, 28, 14 and 7 cells; windows of 7 tile each of them without padding.
VISION = {
    "embed_dim": [24, 48, 96, 144],
    "depths": [1, 1, 2, 1],
    "num_heads": [2, 4, 8, 12],
    "num_groups": [2, 4, 8, 12],
    "window_size": 7,
    "drop_path_rate": 0.0,
    "projection_dim": WIDTH,
}
TEXT = {
    "vocab_size": 384,
    "d_model": WIDTH,
    "encoder_layers": 3,
    "encoder_ffn_dim": 4 * WIDTH,
    "encoder_attention_heads": 6,
    "decoder_layers": 1,
    "decoder_ffn_dim": WIDTH,
    "decoder_attention_heads": 6,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}


def write_checkpoint(directory: Path, *, pretrained: bool = True, seed: int = 0) -> Path:
    """Write the embedded X-VLA into a new directory.

    Args:
        directory: where; must not exist yet, or be empty.
        pretrained: the shipped weights of the vision-language model, or (False) its untrained twin, the control.
            The action transformer is drawn from ``seed`` in both: Z and R never pass through it.
        seed: of every weight that is not shipped.

    Raises:
        ConfigError: the directory holds something already.
        WeightsError: the package was installed without its weights.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty", expected="a new directory", remedy="choose another --out")
    if pretrained and not WEIGHTS.is_file():
        raise WeightsError(
            "the package holds no pretrained weights", expected=WEIGHTS, remedy="run `vtt world pretrain`"
        )
    directory.mkdir(parents=True, exist_ok=True)
    write_tokenizer(directory)
    policy = build_policy(directory, seed=seed)
    if pretrained:
        from safetensors.torch import load_file

        load_vlm(policy, load_file(WEIGHTS))
    save_policy(policy, directory)
    return directory


def write_tokenizer(directory: Path) -> None:
    """Train a byte-level BPE on everything the world can say; deterministic, loads with ``AutoTokenizer``."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        corpus(), vocab_size=TEXT["vocab_size"], min_frequency=1, special_tokens=special, show_progress=False
    )
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=TOKENIZER_MAX_LENGTH,
    ).save_pretrained(directory)


def build_policy(
    tokenizer: Path,
    *,
    seed: int = 0,
    vision: Mapping[str, Any] = VISION,
    text: Mapping[str, Any] = TEXT,
    text_length: int = TOKENIZER_MAX_LENGTH,
) -> "XVLAPolicy":
    """The untrained policy, in lerobot's own class; its weights depend on its sizes and ``seed`` alone."""
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.xvla.configuration_xvla import XVLAConfig
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy

    image = PolicyFeature(type=FeatureType.VISUAL, shape=(3, IMAGE_SIZE, IMAGE_SIZE))
    config = XVLAConfig(
        input_features={f"observation.images.{name}": image for name in CAMERAS}
        | {"observation.state": PolicyFeature(type=FeatureType.STATE, shape=(STATE_SIZE,))},
        output_features={"action": PolicyFeature(type=FeatureType.ACTION, shape=(STATE_SIZE,))},
        florence_config={"vision_config": dict(vision), "text_config": dict(text), "image_token_id": 3},
        tokenizer_name=str(tokenizer),
        tokenizer_max_length=text_length,
        chunk_size=ACTION_STEPS,
        n_action_steps=ACTION_STEPS,
        hidden_size=WIDTH,
        depth=2,
        num_heads=4,
        len_soft_prompts=4,
        num_domains=1,
        max_len_seq=128,
        action_mode="auto",
        max_action_dim=STATE_SIZE,
        max_state_dim=STATE_SIZE,
        device="cpu",
    )
    level = logging.getLogger().level
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = XVLAPolicy(config)
    logging.getLogger().setLevel(level)
    return policy.eval()


def load_vlm(policy: "XVLAPolicy", weights: dict[str, Any]) -> None:
    """Load vision-language weights (names relative to ``policy.model.vlm``), strictly."""
    import torch

    vlm = policy.model.vlm
    wanted = {name: value.dtype for name, value in vlm.state_dict().items()}
    tied = {"language_model.encoder.embed_tokens.weight"}
    missing = set(wanted) - set(weights) - tied
    if missing or set(weights) - set(wanted):
        raise WeightsError(
            "the pretrained weights do not fit the embedded X-VLA",
            found=sorted(set(weights) - set(wanted)) or "all known names",
            expected=sorted(missing) or "no other names",
            remedy="run `vtt world pretrain` again with this version",
        )
    with torch.no_grad():
        vlm.load_state_dict({name: value.to(wanted[name]) for name, value in weights.items()}, strict=False)


def save_policy(policy: "XVLAPolicy", directory: Path) -> None:
    """Write weights, config and processors as lerobot does; the config's tokenizer is the directory itself."""
    from lerobot.policies.xvla.processor_xvla import make_xvla_pre_post_processors

    policy.save_pretrained(directory)
    before, after = make_xvla_pre_post_processors(policy.config)
    before.save_pretrained(directory)
    after.save_pretrained(directory)


def describe(directory: Path) -> dict[str, Any]:
    """What a checkpoint says of its text and images: tokenizer length and resize mode."""
    config = json.loads((directory / "config.json").read_text())
    resize = "letterbox" if config.get("resize_imgs_with_padding") else "squash"
    return {"tokenizer_max_length": config["tokenizer_max_length"], "resize": resize}
