"""What the model server is told: flags, configuration file and environment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP face. Each has a flag of its name under `--kaito-`."""

    body_bytes_max: int = 32 << 20
    headers_bytes_max: int = 32 << 10
    queue_max: int = -1  # requests waiting for a slot; -1: as many as there are slots
    connections_max: int = 4096
    request_timeout_s: float = 3600.0  # from admission to the last byte
    read_timeout_s: float = 60.0  # for a request's body to arrive
    shutdown_grace_s: float = 25.0  # Kubernetes kills 30 s after SIGTERM
    stream_buffer_bytes_max: int = 4 << 20  # a reader that is further behind is dropped


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, and how it is loaded. Names as vLLM's flags."""

    model: str = ""
    served_names: tuple[str, ...] = ()
    tokenizer: str = ""
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    context_tokens: int | None = None  # None: as much as fits
    slots_max: int = 32  # --max-num-seqs
    batch_tokens_max: int | None = None  # --max-num-batched-tokens
    gpu_memory_utilization: float | None = None  # None: from free memory
    kv_cache_bytes: int | None = None
    prefix_caching: bool = True
    trust_remote_code: bool = False
    download_dir: str = ""
    chat_template: str = ""
    trusts_request_template: bool = False  # whether a request may bring its own
    seed: int = 0
    runner: Literal["auto", "generate", "pooling"] = "auto"
    hf_overrides: Mapping[str, Any] | None = None  # entries of the model's config.json
    enable_lora: bool = False
    adapters_dir: str = "/mnt/adapter"
    lora_modules: tuple[tuple[str, str], ...] = ()  # (name, folder)
    lora_rank_max: int = 256
    combination_type: str = "svd"
    tool_call_parser: str = ""
    auto_tool_choice: bool = False
    reasoning_parser: str = ""
    logprobs_max: int = 20
    batching: Literal["auto", "cohorts"] = "auto"  # transformers: cohorts where its paged cache is not wanted
    weights_dir: str = ""  # KAITO_WEIGHTS_DIR
    tiny_dir: str = ""  # KAITO_TINY_DIR
    tiny_architecture: str = ""  # KAITO_TINY_ARCHITECTURE


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything. `engine_args` are the flags as vLLM's own parser takes them; `unused` are those not known here."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"
    host: str = "0.0.0.0"
    port: int = 5000
    model: ModelSettings = field(default_factory=ModelSettings)
    limits: Limits = field(default_factory=Limits)
    engine_args: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    sources: tuple[tuple[str, Any, str], ...] = ()  # (option, value, where it came from), to be printed at start
    api_keys: tuple[str, ...] = ()
    api_key_file: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    runtime_lora: bool = False
    benchmark: bool = False
    benchmark_duration_s: float = 60.0
    kv_cache_cpu_memory_utilization: float | None = None
    traces_endpoint: str = ""
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: str = "info"
    logs_content: bool = False
