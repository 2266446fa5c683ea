"""A checkpoint from disk to a model on its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from kaito.inference.engine import EngineError, Progress, Report
from kaito.inference.engines.transformers.tokenizer import HfTokenizer, load_tokenizer
from kaito.inference.engines.weights import Located
from kaito.inference.generation import ModelInfo
from kaito.inference.settings import ModelSettings

# Sampling defaults that a model's generation_config may carry, by the names of our Sampling.
DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class Loaded:
    model: PreTrainedModel
    tokenizer: HfTokenizer
    info: ModelInfo
    eos: frozenset[int]


def load(located: Located, settings: ModelSettings, report: Report) -> Loaded:
    """Raises EngineError for what does not load, with what to change."""
    report(Progress("loading"))
    path = str(located.path)
    device = pick_device(settings.device)
    with loading(path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
        config.update(settings.hf_overrides or {})
        tokenizer = load_tokenizer(
            settings.tokenizer or path,
            trust_remote_code=settings.trust_remote_code,
            chat_template=settings.chat_template,
        )
        model = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=pick_dtype(settings.dtype, device), trust_remote_code=settings.trust_remote_code
        )
        model = model.to(device).eval()
    generation: GenerationConfig = model.generation_config
    return Loaded(
        model,
        tokenizer,
        ModelInfo(
            root=located.root,
            context_tokens=_context_tokens(config, settings),
            description=located.note,
            defaults=_defaults(located.path, generation),
        ),
        _eos(generation, config, tokenizer),
    )


@contextmanager
def loading(path: str) -> Iterator[None]:
    """What goes wrong inside becomes an EngineError that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(out_of_memory_at_load(error)) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise EngineError(
            f"{path} does not load as a model of transformers: {type(error).__name__}: {error}"
        ) from error


def pick_device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype | str:
    """On a CPU 16-bit floats are slow, and nothing is gained: float32 there."""
    if device.type == "cpu" and wanted in ("auto", "half", "bfloat16", "float16"):
        return torch.float32
    names = {"half": "float16", "float": "float32"}
    if wanted == "auto":
        return "auto"
    dtype = getattr(torch, names.get(wanted, wanted), None)
    if not isinstance(dtype, torch.dtype):
        raise EngineError(f"--dtype={wanted}: choose auto, bfloat16, float16 or float32")
    return dtype


def out_of_memory_at_load(error: BaseException) -> str:
    return (
        f"out of memory while the weights were loaded ({str(error).splitlines()[0]}): take a smaller or quantised "
        "model, --dtype=bfloat16, or an instance type with more GPU memory (`kaito estimate` says how much)"
    )


def context_tokens_of(config: Any) -> int:
    """The model's own longest sequence; a large number where it has none."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0) or 1 << 20


def _context_tokens(config: Any, settings: ModelSettings) -> int:
    longest = context_tokens_of(config)
    if settings.context_tokens is None:
        return longest
    if settings.context_tokens > longest:
        raise EngineError(
            f"--max-model-len={settings.context_tokens} is more than the model's own {longest} tokens: lower it, or "
            "leave it at auto"
        )
    return settings.context_tokens


def _defaults(path: Path, generation: GenerationConfig) -> dict[str, Any]:
    """Only what the model's authors wrote down: without the file all of OpenAI's defaults hold."""
    if not (path / "generation_config.json").is_file():
        return {}
    written = generation.to_diff_dict()
    return {name: written[name] for name in DEFAULTS if written.get(name) is not None}


def _eos(generation: GenerationConfig, config: Any, tokenizer: HfTokenizer) -> frozenset[int]:
    for source in (generation.eos_token_id, getattr(config, "eos_token_id", None), tokenizer.hf.eos_token_id):
        if isinstance(source, int):
            return frozenset({source})
        if source:
            return frozenset(int(token) for token in source)
    return frozenset()
