"""The model that stands in where there is no hub: the preset's own architecture, tiny, with random weights.

It is saved as a checkpoint and then loaded as any other, so that everything behind it is the real thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from kaito.inference.engines.tiny_tokenizer import tiny_tokenizer

FALLBACK = "LlamaForCausalLM"
SEED = 20260101
CONTEXT_TOKENS = 4096
PARAMETERS_MAX = 20_000_000  # what is larger has sizes that the table below does not know
# Attributes of configurations and their tiny values: those that an architecture has are set.
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # the least that vLLM attends with on a CPU
    "max_position_embeddings": CONTEXT_TOKENS,
    "original_max_position_embeddings": CONTEXT_TOKENS,
    # mixtures of experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    # multi-head latent attention
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    # state space models
    "state_size": 8,
    "ssm_state_size": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "n_groups": 1,
    "rope_scaling": None,
    "layer_types": None,
    "use_cache": True,
    "tie_word_embeddings": False,
}


def make_tiny(folder: Path, architecture: str) -> str:
    """Writes the checkpoint; says what it is. What cannot be made small becomes a Llama, and that is said too."""
    if (folder / "config.json").is_file():
        return (folder / "NOTE").read_text(encoding="utf-8")
    tokenizer = tiny_tokenizer()
    wanted = architecture or FALLBACK
    config = _tiny_config(wanted, tokenizer)
    used = wanted if config is not None else FALLBACK
    config = config or _tiny_config(FALLBACK, tokenizer)
    assert config is not None
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if used == wanted:
        stands_in = "" if type(model).__name__ == wanted else f" (the text part: {type(model).__name__})"
    else:
        stands_in = f" (in place of {wanted}, which cannot be made small here)"
    note = (
        f"random weights: {used}{stands_in} at {parameters:,} parameters, made here because no real weights were found"
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "NOTE").write_text(note, encoding="utf-8")
    model.save_pretrained(folder)
    return note


def _tiny_config(architecture: str, tokenizer: Any) -> PretrainedConfig | None:
    """None where the architecture is not a language model of transformers, or does not fit these sizes.

    Of a model that also sees or hears it is the text part's.
    """
    model_type = next((key for key, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if name == architecture), None)
    if model_type is None or not hasattr(transformers, architecture):
        return None
    tokens = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    try:
        usual = CONFIG_MAPPING[model_type]().get_text_config()
        known = set(usual.to_dict())
        sizes = SIZES | tokens
        if "kv_lora_rank" in known:  # latent attention: no shared heads, and a head's width is its rotated part's
            sizes |= {"head_dim": sizes["qk_rope_head_dim"], "num_key_value_heads": sizes["num_attention_heads"]}
        config = type(usual)(**{key: value for key, value in sizes.items() if key in known})
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError, ZeroDivisionError):
        return None
    return config if sum(parameter.numel() for parameter in model.parameters()) <= PARAMETERS_MAX else None
