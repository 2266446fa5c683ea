"""The catalogue of models: one row of models.csv each, and what follows from its numbers."""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

GIB = 1 << 30
DISK_HEADROOM_GIB = 80
BYTES_PER_ELEMENT = 2  # the KV cache is estimated as 16-bit, whatever the weights are

# Names of upstream's older presets, and the catalogue's models that they mean today.
ALIASES = {
    "phi-4": "microsoft/phi-4",
    "phi-4-mini-instruct": "microsoft/phi-4-mini-instruct",
    "phi-3-mini-4k-instruct": "microsoft/phi-3-mini-4k-instruct",
    "phi-3-mini-128k-instruct": "microsoft/phi-3-mini-128k-instruct",
    "phi-3-medium-4k-instruct": "microsoft/phi-3-medium-4k-instruct",
    "phi-3-medium-128k-instruct": "microsoft/phi-3-medium-128k-instruct",
    "phi-3.5-mini-instruct": "microsoft/phi-3.5-mini-instruct",
    "llama-3.1-8b-instruct": "meta-llama/llama-3.1-8b-instruct",
    "llama-3.3-70b-instruct": "meta-llama/llama-3.3-70b-instruct",
    "deepseek-r1-distill-llama-8b": "deepseek-ai/deepseek-r1-distill-llama-8b",
    "deepseek-r1-distill-qwen-14b": "deepseek-ai/deepseek-r1-distill-qwen-14b",
    "deepseek-r1-0528": "deepseek-ai/deepseek-r1-0528",
    "deepseek-v3-0324": "deepseek-ai/deepseek-v3-0324",
    "qwen2.5-coder-7b-instruct": "qwen/qwen2.5-coder-7b-instruct",
    "qwen2.5-coder-32b-instruct": "qwen/qwen2.5-coder-32b-instruct",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gemma-3-4b-instruct": "google/gemma-3-4b-it",
    "gemma-3-27b-instruct": "google/gemma-3-27b-it",
    "mistral-7b": "mistralai/mistral-7b-v0.3",
    "mistral-7b-instruct": "mistralai/mistral-7b-instruct-v0.3",
    "ministral-3-3b-instruct": "mistralai/ministral-3-3b-instruct-2512",
    "ministral-3-8b-instruct": "mistralai/ministral-3-8b-instruct-2512",
    "ministral-3-14b-instruct": "mistralai/ministral-3-14b-instruct-2512",
    "mistral-large-3-675b-instruct": "mistralai/mistral-large-3-675b-instruct-2512",
}
DEPRECATED = frozenset({"phi-2"})


@dataclass(frozen=True, slots=True)
class Preset:
    """A model. Sizes as in the hub's file listing; head counts are those of attention, `kv_lora_rank` means MLA."""

    model_id: str
    architecture: str
    license: str
    weights_gib: float
    context_tokens_max: int
    hidden_size: int
    layers: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    kv_lora_rank: int
    qk_rope_head_dim: int
    quant_method: str
    quant_bits: str
    load_format: str
    config_format: str
    tokenizer_mode: str
    tool_parser: str
    reasoning_parser: str
    chat_template: str

    @property
    def name(self) -> str:
        """The last path segment, lower case: the name under which it is served."""
        return self.model_id.rpartition("/")[2].lower()

    @property
    def weights_bytes(self) -> int:
        return round(self.weights_gib * GIB)

    @property
    def disk_gib(self) -> int:
        return int(self.weights_gib + DISK_HEADROOM_GIB)

    @property
    def attention(self) -> Literal["MLA", "MHA", "MQA", "GQA"]:
        if self.kv_lora_rank:
            return "MLA"
        if self.kv_heads == self.attention_heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    @property
    def bytes_per_token(self) -> int:
        """KV cache of one token over all layers."""
        if self.attention == "MLA":
            elements = self.kv_lora_rank + self.qk_rope_head_dim
        else:
            elements = 2 * self.kv_heads * self.head_dim
        return elements * self.layers * BYTES_PER_ELEMENT


def _preset(row: dict[str, str]) -> Preset:
    number = {key: int(value) if value else 0 for key, value in row.items() if key in INTEGERS}
    return Preset(
        model_id=row["model_id"],
        architecture=row["architecture"],
        license=row["license"],
        weights_gib=float(row["weights_gib"]),
        context_tokens_max=number["context_tokens_max"],
        hidden_size=number["hidden_size"],
        layers=number["layers"],
        attention_heads=number["attention_heads"],
        kv_heads=number["kv_heads"] or number["attention_heads"],
        head_dim=number["head_dim"] or number["hidden_size"] // number["attention_heads"],
        kv_lora_rank=number["kv_lora_rank"],
        qk_rope_head_dim=number["qk_rope_head_dim"],
        **{key: row[key] for key in TEXTS},
    )


INTEGERS = frozenset(
    {
        "context_tokens_max",
        "hidden_size",
        "layers",
        "attention_heads",
        "kv_heads",
        "head_dim",
        "kv_lora_rank",
        "qk_rope_head_dim",
    }
)
TEXTS = (
    "quant_method",
    "quant_bits",
    "load_format",
    "config_format",
    "tokenizer_mode",
    "tool_parser",
    "reasoning_parser",
    "chat_template",
)


@cache
def presets() -> dict[str, Preset]:
    """The catalogue by lower-case model id, in the file's order. Raises ValueError for a broken row."""
    text = files("kaito.plan.catalog").joinpath("models.csv").read_text(encoding="utf-8")
    found = [_preset(row) for row in csv.DictReader(text.splitlines())]
    catalogue = {preset.model_id.lower(): preset for preset in found}
    if len(catalogue) != len(found):
        raise ValueError("models.csv: a model_id stands twice")
    if missing := sorted(set(ALIASES.values()) - set(catalogue)):
        raise ValueError(f"aliases of models that models.csv does not have: {', '.join(missing)}")
    return catalogue


def find_preset(name: str) -> Preset | None:
    """The model of this id, short name or alias, whatever its case; None where the catalogue has none."""
    wanted = name.lower()
    return presets().get(ALIASES.get(wanted, wanted)) or _by_short_name().get(wanted)


@cache
def _by_short_name() -> dict[str, Preset]:
    return {preset.name: preset for preset in presets().values()}


def similar_presets(name: str) -> tuple[str, ...]:
    """Names that the user may have meant, the most alike first; at most three."""
    known = [*ALIASES, *_by_short_name(), *presets()]
    return tuple(dict.fromkeys(difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)))
