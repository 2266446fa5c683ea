"""Checkpoints with random weights in the shapes of real models, for benchmarks: answers are noise, the work is real."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The sizes in the config.json of the hub's models; `tiny-llama` is for two cores.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "tiny-llama": {
        "model_type": "llama",
        "vocab_size": 4096,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
    },
    "phi-4-mini": {
        "model_type": "phi3",
        "vocab_size": 200_064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "partial_rotary_factor": 0.75,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,  # without the long-context scaling
        "original_max_position_embeddings": 4096,
        "sliding_window": None,
    },
}
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def make_model(folder: Path, shape: str) -> int:
    """Writes the checkpoint, on the GPU's way where there is one; how many parameters it has."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = dict(SHAPES[shape])
    tokenizer = make_tokenizer(sizes["vocab_size"])
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = AutoConfig.for_model(**sizes, **ends)
    has_gpu = torch.cuda.is_available()
    with torch.device("cuda" if has_gpu else "cpu"):
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if has_gpu else torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def make_tokenizer(size: int) -> Any:
    """Bytes, then words of which every id has one: what a random model says decodes at a real model's cost."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    vocabulary |= {f"Ġw{number}": number for number in range(len(names), size)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    found.chat_template = TEMPLATE
    return found
