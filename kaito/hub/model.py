"""hub_model: a hub model's config.json and file listing → Preset, or why there is none. Pure.

Whatever the hub sends, nothing but a HubError is raised: an answer is another's data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaito.api.meta import Json
from kaito.hub.errors import HubUnreachable, ModelUnsupported
from kaito.plan.catalog import Preset, is_hub_name
from kaito.plan.estimate import GIB

CONFIG, MISTRAL_CONFIG = "config.json", "params.json"
GENERATIVE = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
WEIGHTS = (".safetensors", ".bin", ".pt")  # the first kind that there is; the others are the same weights again
CONSOLIDATED = "consolidated"  # Mistral's own layout of the same weights, beside the sharded one
CONTEXT_TOKENS_DEFAULT = 2048  # upstream's, where the config says nothing
NUMBER_MAX = 1 << 40
WORD = re.compile(r"[A-Za-z0-9._-]{1,128}")
NESTED = ("text_config", "llm_config")

# One number, by the names that families of models give it; the first that is there counts.
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length",
           "model_max_length")  # fmt: skip
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num")
HEAD_DIM = ("head_dim", "attention_head_dim")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the hub says of a model beside its config. `sizes`: bytes by path, 0 where it does not say."""

    model_id: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    license: str = ""
    is_gated: bool = False

    @classmethod
    def of(cls, asked: str, found: Json) -> Listing:
        """From the hub's answer about the model that was asked for."""
        files = [item for item in _list(found.get("siblings")) if isinstance(item, dict)]
        model_id = found.get("id")
        return cls(
            model_id if isinstance(model_id, str) and is_hub_name(model_id) else asked,
            {str(item.get("rfilename")): _positive(item.get("size")) for item in files},
            _word(_dict(found.get("cardData")).get("license")),
            bool(found.get("gated")),
        )


@dataclass(frozen=True, slots=True)
class HubModel:
    preset: Preset
    is_gated: bool = False


def hub_model(listing: Listing, config: Json) -> HubModel:
    """Raises ModelUnsupported that names what is missing."""
    is_mistral = CONFIG not in listing.sizes and MISTRAL_CONFIG in listing.sizes
    preset = preset_of(listing.model_id, config, listing.sizes, license=listing.license, is_mistral=is_mistral)
    return HubModel(preset, listing.is_gated)


def preset_of(
    model_id: str, config: Json, sizes: Mapping[str, int], *, license: str = "", is_mistral: bool = False
) -> Preset:
    """`sizes`: bytes by path. `is_mistral`: in Mistral's own layout, whose params.json names no architecture."""
    architecture = _architecture(model_id, config, sizes, is_mistral)
    text: Json = config
    for name in NESTED:
        text = _dict(config.get(name)) | {key: value for key, value in text.items() if value is not None}
    heads, hidden = _number(model_id, text, HEADS), _number(model_id, text, HIDDEN)
    kv_heads = 1 if text.get("multi_query") is True else _optional(text, KV_HEADS) or heads
    quantization = _dict(config.get("quantization_config") or text.get("quantization_config"))
    layout = "mistral" if is_mistral else ""
    return Preset(
        model_id=model_id,
        architecture=architecture,
        license=license,
        weights_gib=round(weights_bytes(model_id, sizes) / GIB, 2),
        context_tokens_max=_optional(text, CONTEXT) or CONTEXT_TOKENS_DEFAULT,
        hidden_size=hidden,
        layers=_number(model_id, text, LAYERS),
        attention_heads=heads,
        kv_heads=kv_heads,
        head_dim=_optional(text, HEAD_DIM) or max(1, hidden // heads),
        kv_lora_rank=_optional(text, ("kv_lora_rank",)),
        qk_rope_head_dim=_optional(text, ("qk_rope_head_dim",)),
        quant_method=_word(quantization.get("quant_method")),
        quant_bits=_word(str(quantization.get("bits") or "")),
        load_format=layout,
        config_format=layout,
        tokenizer_mode=layout,
        tool_parser="",
        reasoning_parser="",
        chat_template="",
    )


def weights_bytes(model_id: str, sizes: Mapping[str, int]) -> int:
    """Of the weights that an engine would load: those at the top, of one format, in one layout."""
    for suffix in WEIGHTS:
        found = {path: size for path, size in sizes.items() if path.endswith(suffix) and "/" not in path}
        sharded = {path: size for path, size in found.items() if not path.startswith(CONSOLIDATED)}
        loaded = sharded or found
        if nameless := [path for path, size in loaded.items() if not size]:
            raise HubUnreachable(f"{model_id}: the hub does not say how large {nameless[0]} is")
        if loaded:
            return sum(loaded.values())
    raise ModelUnsupported(f"{model_id}: no {', '.join(WEIGHTS)} file at its top; GGUF is not served")


def _architecture(model_id: str, config: Json, sizes: Mapping[str, int], is_mistral: bool) -> str:
    if is_mistral:
        return "MistralForCausalLM"
    if "adapter_config.json" in sizes and CONFIG not in sizes:
        raise ModelUnsupported(f"{model_id} is an adapter: serve its base model, and name it in inference.adapters")
    if not config:
        raise ModelUnsupported(f"{model_id} has no {CONFIG}; GGUF files and pipelines of several models are not served")
    named = next(iter(_list(config.get("architectures"))), "")
    if not isinstance(named, str) or not WORD.fullmatch(named):
        raise ModelUnsupported(f"{model_id}: its config.json names no architecture")
    if not named.endswith(GENERATIVE) or config.get("is_encoder_decoder") is True:
        raise ModelUnsupported(f"{model_id}: architecture {named!r} is no causal language model")
    return named


def _optional(config: Json, names: tuple[str, ...]) -> int:
    """The first of the numbers that is there; 0 where none is, or it is none that a model can have."""
    return _positive(next((config[name] for name in names if config.get(name) is not None), 0))


def _number(model_id: str, config: Json, names: tuple[str, ...]) -> int:
    if value := _optional(config, names):
        return value
    raise ModelUnsupported(f"{model_id}: its config.json says nothing usable of {' or '.join(names)}")


def _positive(value: Any) -> int:
    return value if type(value) is int and 0 < value < NUMBER_MAX else 0


def _word(value: Any) -> str:
    return value if isinstance(value, str) and WORD.fullmatch(value) else ""


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
