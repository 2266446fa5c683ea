"""A checkpoint from disk to a model that makes embeddings, and which checkpoints are such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from kaito.inference.engine import EngineError, Progress, Report
from kaito.inference.engines.transformers.embedder import LoadedEncoder
from kaito.inference.engines.transformers.loading import context_tokens_of, loading, pick_device, pick_dtype
from kaito.inference.engines.transformers.pooling import MODULES, Head, read_head
from kaito.inference.engines.transformers.tokenizer import load_tokenizer
from kaito.inference.engines.weights import Located
from kaito.inference.generation import ModelInfo
from kaito.inference.settings import ModelSettings

UNBOUNDED = 1 << 20  # tokenizers without a bound of their own have a very large one


def makes_embeddings(folder: Path, runner: str) -> bool:
    """What `--runner` says; with `auto` what the files say.

    Embeddings: a sentence-transformers model, a bare model without a language head, a model of masked words.
    """
    if runner != "auto":
        return runner == "pooling"
    if (folder / MODULES).is_file():
        return True
    try:
        architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    except (OSError, ValueError):
        return False  # loading it says what is wrong
    name = str(architectures[0])
    return name.endswith("Model") or name in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()


def load_encoder(located: Located, settings: ModelSettings, report: Report) -> LoadedEncoder:
    """Raises EngineError for what does not load, with what to change."""
    report(Progress("loading"))
    path, device = str(located.path), pick_device(settings.device)
    if settings.enable_lora or settings.lora_modules:
        raise EngineError("--runner=pooling takes no LoRA adapters on this engine: merge them into the weights")
    with loading(path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
        config.update(settings.hf_overrides or {})
        tokenizer = load_tokenizer(settings.tokenizer or path, trust_remote_code=settings.trust_remote_code)
        model = AutoModel.from_pretrained(
            path, config=config, dtype=pick_dtype(settings.dtype, device), trust_remote_code=settings.trust_remote_code
        )
        model = model.to(device).eval()
    head = read_head(located.path, is_decoder=_is_decoder(config), device=device)
    text = config.get_text_config()
    return LoadedEncoder(
        model,
        head,
        tokenizer,
        ModelInfo(located.root, _context_tokens(model, config, head, tokenizer.hf, settings), located.note),
        head.dimensions(int(text.hidden_size)),
        _shorter(config),
    )


def _is_decoder(config: Any) -> bool:
    kind = config.get_text_config().model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _context_tokens(model: Any, config: Any, head: Head, tokenizer: Any, settings: ModelSettings) -> int:
    """The least of what model, tokenizer and sentence-transformers' settings allow. Raises EngineError."""
    bounds = [context_tokens_of(config) - _positions_lost(model), head.context_tokens or UNBOUNDED]
    bounds.append(min(int(tokenizer.model_max_length), UNBOUNDED))
    longest = min(bounds)
    if settings.context_tokens is not None and settings.context_tokens > longest:
        raise EngineError(
            f"--max-model-len={settings.context_tokens} is more than the {longest} tokens that this model reads: lower "
            "it, or leave it at auto"
        )
    return settings.context_tokens or longest


def _positions_lost(model: Any) -> int:
    """RoBERTa's kind counts positions from the padding token's id on."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def _shorter(config: Any) -> frozenset[int] | None:
    """By vLLM's names in the model's configuration."""
    if dimensions := getattr(config, "matryoshka_dimensions", None):
        return frozenset(int(width) for width in dimensions)
    return None if getattr(config, "is_matryoshka", False) else frozenset()
