"""The passes through the embedded X-VLA that its pretraining is made of, and how its weights begin and end."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn


def encode_images(xvla: Any, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b g g c"], Tensor]:
    """R (stage 3 of the tower, channels last) and the projected image tokens, out of one pass."""
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    out = xvla.vlm.get_image_features(pixels, output_hidden_states=True)
    return out.hidden_states[-2].permute(0, 2, 3, 1), out.pooler_output


def fuse(xvla: Any, tokens: Float[Tensor, "b i d"], ids: Int[Tensor, "b n"]) -> Float[Tensor, "b s d"]:
    """Z: image tokens and text through the encoder, everything attended, as lerobot's ``forward_vlm`` does."""
    merged = torch.cat([tokens, xvla.vlm.get_input_embeddings()(ids)], dim=1)  # (b i+n d)
    mask = torch.ones(merged.shape[:2], dtype=torch.long)
    out: Tensor = xvla.vlm.language_model.encoder(attention_mask=mask, inputs_embeds=merged)[0]
    return out


def action_loss(
    xvla: Any,
    z: Float[Tensor, "b s d"],
    *,
    states: Float[Tensor, "b 6"],
    actions: Float[Tensor, "b t 6"],
    expert: Float[Tensor, " b"],
) -> Float[Tensor, ""]:
    """X-VLA's flow objective on the action chunk, as ``XVLAModel.forward`` states it, where the expert acts (1)."""
    b = len(z)
    t = (torch.rand(1) + torch.arange(b) / b) % (1 - 1e-5)
    noisy = torch.randn_like(actions) * t.view(-1, 1, 1) + actions * (1 - t).view(-1, 1, 1)
    predicted = xvla.transformer(
        domain_id=torch.zeros(b, dtype=torch.long),
        action_with_noise=noisy,
        t=t,
        proprio=states,
        vlm_features=z,
        aux_visual_inputs=z[:, :0],
    )
    error = (predicted - actions).square().mean((1, 2))
    return (error * expert).sum() / expert.sum().clamp(min=1)


def initialise(vlm: nn.Module) -> None:
    """Xavier for linear maps, Kaiming for convolutions: the default (0.02) learns slowly at this size."""
    for module in vlm.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def export(vlm: nn.Module, path: Path) -> None:
    """The vision-language weights alone, in bf16 (buffers that are integers stay)."""
    kept = {}
    for name, value in vlm.state_dict().items():
        if name != "language_model.encoder.embed_tokens.weight":  # tied to `shared`
            kept[name] = (value.bfloat16() if value.is_floating_point() else value).contiguous().clone()
    save_file(kept, path)


def bce(logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
    """Binary cross entropy of logits against shares in 0..1, mean."""
    return F.binary_cross_entropy_with_logits(logits, target)
