"""An X-VLA of the published size with random weights: as slow as the real one, without a download."""

from pathlib import Path

from ...pipeline.datasets.world.checkpoints import VISION, build_policy, save_policy, write_checkpoint, write_tokenizer

TEXT_LENGTH = 50
FULL_VISION = VISION | {
    "embed_dim": [256, 512, 1024, 2048],
    "depths": [1, 1, 9, 1],
    "num_heads": [8, 16, 32, 64],
    "num_groups": [8, 16, 32, 64],
    "window_size": 12,
    "projection_dim": 1024,
}
FULL_TEXT = {
    "vocab_size": 51289,
    "d_model": 1024,
    "encoder_layers": 12,
    "encoder_ffn_dim": 4096,
    "encoder_attention_heads": 16,
    "decoder_layers": 1,  # dropped by X-VLA, whatever its size
    "decoder_ffn_dim": 1024,
    "decoder_attention_heads": 16,
    "max_position_embeddings": 4096,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
"""Florence-2 large, the vision-language half of X-VLA."""


def write_tiny(directory: Path) -> Path:
    """The embedded X-VLA, untrained."""
    return write_checkpoint(directory, pretrained=False)


def write_full_size(directory: Path) -> Path:
    """A checkpoint whose vision-language model has about 570 million parameters, drawn at random; about 2.3 GB."""
    directory.mkdir(parents=True)
    write_tokenizer(directory)
    policy = build_policy(directory, vision=FULL_VISION, text=FULL_TEXT, text_length=TEXT_LENGTH)
    save_policy(policy, directory)
    return directory
