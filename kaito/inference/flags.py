"""The flags that this server knows itself, one row each. vLLM has hundreds more: those pass through to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "int", "float", "bool", "list", "auto_int", "json"]
Owner: TypeAlias = Literal["server", "model", "limits"]


@dataclass(frozen=True, slots=True)
class Flag:
    """`field` of the settings class that `owner` names. `is_vllm`: vLLM has the flag too, and gets it as well."""

    name: str
    owner: Owner
    field: str
    kind: Kind
    help: str
    is_vllm: bool = False
    choices: tuple[str, ...] = ()


FLAGS: tuple[Flag, ...] = (
    Flag("engine", "server", "engine", "text", "auto: vLLM where it is with a GPU, else transformers",
         choices=("auto", "vllm", "transformers")),
    Flag("model", "model", "model", "text", "a folder, or a model id of the hub", True),
    Flag("served-model-name", "model", "served_names", "list", "names that requests use", True),
    Flag("tokenizer", "model", "tokenizer", "text", "another folder or model id for the tokenizer", True),
    Flag("revision", "model", "revision", "text", "branch, tag or commit of the hub's repository", True),
    Flag("dtype", "model", "dtype", "text", "auto, bfloat16, float16 or float32 (always float32 on a CPU)", True),
    Flag("device", "model", "device", "text", "auto, cpu, cuda or cuda:N (transformers)"),
    Flag("max-model-len", "model", "context_tokens", "auto_int", "context in tokens; auto: as much as fits", True),
    Flag("max-num-seqs", "model", "slots_max", "int", "sequences that run at once", True),
    Flag("max-num-batched-tokens", "model", "batch_tokens_max", "int", "tokens a step may process", True),
    Flag("gpu-memory-utilization", "model", "gpu_memory_utilization", "float", "share of the GPU's memory", True),
    Flag("kv-cache-memory-bytes", "model", "kv_cache_bytes", "int", "bytes of the key-value cache", True),
    Flag("enable-prefix-caching", "model", "prefix_caching", "bool", "share equal prompt beginnings", True),
    Flag("trust-remote-code", "model", "trust_remote_code", "bool", "run code that comes with the model", True),
    Flag("download-dir", "model", "download_dir", "text", "where downloaded weights are kept", True),
    Flag("chat-template", "model", "chat_template", "text", "a Jinja file, a name of ours, or the template", True),
    Flag("trust-request-chat-template", "model", "trusts_request_template", "bool", "requests may bring some", True),
    Flag("seed", "model", "seed", "int", "of requests that name none", True),
    Flag("runner", "model", "runner", "text", "generate, or pooling for embeddings; auto: as the model is",
         True, ("auto", "generate", "pooling")),
    Flag("hf-overrides", "model", "hf_overrides", "json", "JSON object over the model's config.json", True),
    Flag("enable-lora", "model", "enable_lora", "bool", "serve LoRA adapters", True),
    Flag("lora-modules", "model", "lora_modules", "list", "NAME=FOLDER, or JSON {name, path}", True),
    Flag("max-lora-rank", "model", "lora_rank_max", "int", "adapters of a higher rank are refused", True),
    Flag("tool-call-parser", "model", "tool_call_parser", "text", "how the model writes tool calls", True),
    Flag("enable-auto-tool-choice", "model", "auto_tool_choice", "bool", "look for tool calls unasked", True),
    Flag("reasoning-parser", "model", "reasoning_parser", "text", "how the model marks its reasoning", True),
    Flag("max-logprobs", "model", "logprobs_max", "int", "alternatives that a request may ask for", True),
    Flag("kaito-batching", "model", "batching", "text", "auto: continuous where the architecture allows; cohorts",
         choices=("auto", "cohorts")),
    Flag("host", "server", "host", "text", "address to listen on (environment: KAITO_BIND_ADDRESS)", True),
    Flag("port", "server", "port", "int", "port to listen on (environment: KAITO_BIND_PORT)", True),
    Flag("api-key", "server", "api_keys", "list", "keys, one of which requests carry (also: VLLM_API_KEY)", True),
    Flag("ssl-certfile", "server", "certificate", "text", "certificate chain, PEM: serve HTTPS", True),
    Flag("ssl-keyfile", "server", "certificate_key", "text", "its private key, PEM", True),
    Flag("otlp-traces-endpoint", "server", "traces_endpoint", "text", "OpenTelemetry collector for traces", True),
    Flag("kaito-adapters-dir", "model", "adapters_dir", "text", "folder whose sub-folders are LoRA adapters"),
    Flag("kaito-combination-type", "model", "combination_type", "text", "how adapters are merged (PEFT)"),
    Flag("kaito-kv-cache-cpu-memory-utilization", "server", "kv_cache_cpu_memory_utilization", "float",
         "share of free host memory for the KV cache's offload (vLLM); 0: off"),
    Flag("kaito-api-key-file", "server", "api_key_file", "text", "one key a line; read again when it changes"),
    Flag("kaito-runtime-lora", "server", "runtime_lora", "bool", "allow /v1/load_lora_adapter and its counterpart"),
    Flag("kaito-benchmark", "server", "benchmark", "bool", "measure peak tokens a minute after the model is loaded"),
    Flag("kaito-benchmark-duration", "server", "benchmark_duration_s", "float", "seconds of it, at most"),
    Flag("kaito-log-format", "server", "log_format", "text", "form of the log", choices=("auto", "console", "json")),
    Flag("kaito-log-level", "server", "log_level", "text", "debug, info, warning or error"),
    Flag("kaito-log-content", "server", "logs_content", "bool", "write prompts and answers to the log"),
    Flag("kaito-body-bytes-max", "limits", "body_bytes_max", "int", "bytes of a request's body"),
    Flag("kaito-headers-bytes-max", "limits", "headers_bytes_max", "int", "bytes of a header, or of the request line"),
    Flag("kaito-queue-max", "limits", "queue_max", "int", "requests that wait; -1: as many as there are slots"),
    Flag("kaito-connections-max", "limits", "connections_max", "int", "open connections"),
    Flag("kaito-request-timeout", "limits", "request_timeout_s", "float", "seconds from admission to the last byte"),
    Flag("kaito-read-timeout", "limits", "read_timeout_s", "float", "seconds for a body to arrive"),
    Flag("kaito-shutdown-grace", "limits", "shutdown_grace_s", "float", "seconds that streams get after SIGTERM"),
    Flag("kaito-stream-buffer-bytes-max", "limits", "stream_buffer_bytes_max", "int", "how far a reader may lag"),
)  # fmt: skip
BY_NAME = {flag.name: flag for flag in FLAGS}
# Accepted from older command lines; they do nothing any more.
RETIRED = ("kaito-max-probe-steps", "kaito-disable-rate-limit")


def convert(flag: Flag, value: Any, where: str) -> Any:
    """The value as the settings hold it. Raises ValueError that names the option, the value and what was expected."""
    if flag.choices and value not in flag.choices:
        raise ValueError(f"{where}: {value!r}, expected one of {', '.join(flag.choices)}")
    return CONVERSIONS[flag.kind](value, where)


def _int(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{where}: {value!r}, expected a whole number")
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{where}: {value!r}, expected a whole number") from None


def _auto_int(value: Any, where: str) -> int | None:
    """vLLM's lengths: auto or -1, a number, or 32k and 32K (thousands and 1,024s)."""
    if value in ("auto", -1, "-1"):
        return None
    if isinstance(value, str) and value[-1:] in ("k", "K", "m", "M"):
        factor = {"k": 10**3, "K": 1 << 10, "m": 10**6, "M": 1 << 20}[value[-1]]
        return _int(value[:-1], where) * factor
    return _int(value, where)


def _float(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {value!r}, expected a number") from None


def _bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    named = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if str(value).lower() not in named:
        raise ValueError(f"{where}: {value!r}, expected true or false")
    return named[str(value).lower()]


def _list(value: Any, where: str) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _json(value: Any, where: str) -> dict[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {value!r}, expected a JSON object")
    return found


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict | list):
        raise ValueError(f"{where}: {value!r}, expected text")
    return str(value)


CONVERSIONS: dict[Kind, Callable[[Any, str], Any]] = {
    "text": _text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "list": _list,
    "auto_int": _auto_int,
    "json": _json,
}
