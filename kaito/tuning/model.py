"""The base model and its tokenizer, as the configuration asks for them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from kaito.tuning.config import ModelConfig, QuantizationConfig, TuningConfig
from kaito.tuning.errors import ConfigError


def load_model(config: TuningConfig, name: str) -> tuple[Any, Any]:
    """Model and tokenizer. Raises ConfigError for what is not there or not a causal language model."""
    ask = config.model
    is_gpu = torch.cuda.is_available() and not config.training.get("use_cpu")
    _check_quantization(config)
    shared = {
        "revision": ask.revision,
        "trust_remote_code": ask.trust_remote_code,
        "cache_dir": ask.cache_dir,
        "force_download": ask.force_download,
        "local_files_only": ask.local_files_only,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **shared)
        model = loader(AutoConfig.from_pretrained(name, **shared)).from_pretrained(
            name,
            dtype=ask.dtype if ask.dtype == "auto" else getattr(torch, ask.dtype),
            device_map=_device_map(ask) if is_gpu else None,
            attn_implementation=ask.attn_implementation,
            quantization_config=_quantization(config.quantization),
            **shared,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"ModelConfig.pretrained_model_name_or_path: {name}: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if ask.chat_template:
        tokenizer.chat_template = _template(ask.chat_template)
    model.config.use_cache = False
    return model, tokenizer


def loader(config: PretrainedConfig) -> Any:
    """transformers' class of the whole model, also of one that sees or hears.

    Its text part alone would have other module names, and so would the adapter: vLLM, which serves the whole, would
    find none of them in its model.
    """
    is_whole = config.get_text_config() is not config and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return AutoModelForImageTextToText if is_whole else AutoModelForCausalLM


def _check_quantization(config: TuningConfig) -> None:
    """A CPU is not taken by surprise: bitsandbytes has kernels for it, but a real model would train for weeks."""
    if not config.quantization.is_on:
        return
    key = "load_in_4bit" if config.quantization.load_in_4bit else "load_in_8bit"
    if not torch.cuda.is_available() and not config.training.get("use_cpu"):
        raise ConfigError(
            f"QuantizationConfig.{key}: QLoRA needs an NVIDIA GPU, and this machine shows none: "
            "use method lora, or an instance type with a GPU (TrainingArguments.use_cpu: true tries a tiny model here)"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(f"QuantizationConfig.{key}: bitsandbytes is not installed: pip install 'kaito[qlora]'")


def _quantization(quantization: QuantizationConfig) -> BitsAndBytesConfig | None:
    if not quantization.is_on:
        return None
    values = quantization.model_dump(exclude={"quant_method", "bnb_4bit_compute_dtype"})
    return BitsAndBytesConfig(**values, bnb_4bit_compute_dtype=getattr(torch, quantization.bnb_4bit_compute_dtype))


def _device_map(ask: ModelConfig) -> Any:
    """Several processes hold one copy each, on their own GPU."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return {"": int(os.environ.get("LOCAL_RANK", "0"))}
    return ask.device_map


def _template(text: str) -> str:
    """Inline where it has braces or lines, else the file of that name. Raises ConfigError."""
    if "{" in text or "\n" in text:
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ModelConfig.chat_template: {text}: no template, and no readable file: {error}") from error
