"""A random Qwen2.5-VL in transformers' own files: model, tokenizer, image processor; and its attention as features."""

import torch

from visual_thought.extract.backbones.attention_qwen import describe, load

WORDS = ["pick up the orange cube", "where is its rim?", "", "pick up the orange cube"]
LAYERS, HEADS, KEY_HEADS, WIDTH = 3, 4, 2, 16
CPU = torch.device("cpu")
ALL = ("q", "k", "v", "s", "w")
TEXT = 24
SIZE = (84, 112)  # 3 x 4 cells: more than one window of 2 x 2 cells
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|image_pad|>", "<|video_pad|>"]
TEMPLATE = "You are a helpful assistant. system user assistant \n Where is the part of"


def write_qwen(folder):
    from transformers import Qwen2VLImageProcessor

    write_model(folder, write_tokenizer(folder))
    Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 12_845_056}).save_pretrained(folder)
    return folder


def write_tokenizer(folder):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([*WORDS, TEMPLATE] * 4, vocab_size=400, min_frequency=1, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token=SPECIAL[0], eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_model(folder, tokenizer):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HEADS * WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_HEADS,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "initializer_range": 0.2,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": HEADS * WIDTH,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


def declared(folder, features=ALL, *, dtype="fp32", size=SIZE, **options):
    options = {"text_length": TEXT} | options
    return describe(str(folder), features=features, dtype=dtype, image_size=size, options=options)


def loaded(folder, features=ALL, **given):
    return load(str(folder), declared(folder, features, **given), device=CPU)
