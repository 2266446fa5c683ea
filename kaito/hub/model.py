"""preset_of: a hub model's config.json and file sizes → Preset. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito.api.meta import Json
from kaito.hub.errors import ModelUnsupported
from kaito.plan.catalog import Preset
from kaito.plan.estimate import GIB

GENERATIVE = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
WEIGHTS = (".safetensors", ".bin", ".pt")  # the first kind that there is; the others are the same weights again
CONSOLIDATED = "consolidated"  # Mistral's own layout of the same weights, beside the sharded one


def preset_of(model_id: str, config: Json, sizes: Mapping[str, int], *, license: str = "") -> Preset:
    """`sizes`: bytes by path. Raises ModelUnsupported that names what is missing."""
    (architecture, *_) = config.get("architectures") or [""]
    if not str(architecture).endswith(GENERATIVE):
        named = f"architecture {architecture!r}" if architecture else "no architecture in its config.json"
        raise ModelUnsupported(f"{model_id}: {named} is no text generator; choose a causal language model")
    text: Json = config.get("text_config") or config
    heads = _number(model_id, text, "num_attention_heads", "n_head")
    hidden = _number(model_id, text, "hidden_size", "n_embd")
    return Preset(
        model_id=model_id,
        architecture=str(architecture),
        license=license,
        weights_gib=round(weights_bytes(model_id, sizes) / GIB, 2),
        context_tokens_max=_number(model_id, text, "max_position_embeddings", "n_positions", "max_seq_len"),
        hidden_size=hidden,
        layers=_number(model_id, text, "num_hidden_layers", "n_layer"),
        attention_heads=heads,
        kv_heads=_optional(text, "num_key_value_heads", "multi_query_group_num") or heads,
        head_dim=_optional(text, "head_dim") or hidden // heads,
        kv_lora_rank=_optional(text, "kv_lora_rank"),
        qk_rope_head_dim=_optional(text, "qk_rope_head_dim"),
        quant_method=str((config.get("quantization_config") or {}).get("quant_method") or ""),
        quant_bits=str((config.get("quantization_config") or {}).get("bits") or ""),
        load_format="",
        config_format="",
        tokenizer_mode="",
        tool_parser="",
        reasoning_parser="",
        chat_template="",
    )


def weights_bytes(model_id: str, sizes: Mapping[str, int]) -> int:
    """Of the weights that an engine would load: those at the top, of one format, in one layout."""
    for suffix in WEIGHTS:
        found = {path: size for path, size in sizes.items() if path.endswith(suffix) and "/" not in path}
        sharded = {path: size for path, size in found.items() if not path.startswith(CONSOLIDATED)}
        if found:
            return sum((sharded or found).values())
    raise ModelUnsupported(f"{model_id}: no {', '.join(WEIGHTS)} file at its top; GGUF and adapters are not served")


def _optional(config: Json, *names: str) -> int:
    value: Any = next((config[name] for name in names if config.get(name) is not None), 0)
    return value if isinstance(value, int) and value > 0 else 0


def _number(model_id: str, config: Json, *names: str) -> int:
    if value := _optional(config, *names):
        return value
    raise ModelUnsupported(f"{model_id}: config.json says nothing usable of {' or '.join(names)}")
