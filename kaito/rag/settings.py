"""What the service is told, read once from the environment. Upstream's names and defaults where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

DEFAULT_STORAGE = Path("storage")
EmbeddingSource: TypeAlias = Literal["local", "remote"]


def _env(name: str, default: Any, **constraints: float) -> Any:
    return field(default=default, metadata={"env": name, **constraints})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the HTTP face and of what is stored. 0 means no bound for the quotas."""

    body_bytes_max: int = _env("RAG_BODY_BYTES_MAX", 32 << 20, ge=1024)
    requests_max: int = _env("RAG_CONCURRENT_REQUESTS_MAX", 512, ge=1)
    read_timeout_s: float = _env("RAG_READ_TIMEOUT_S", 60.0, gt=0)
    request_timeout_s: float = _env("RAG_REQUEST_TIMEOUT_S", 600.0, gt=0)
    shutdown_grace_s: float = _env("RAG_SHUTDOWN_GRACE_S", 25.0, ge=0)
    stream_buffer_bytes_max: int = _env("RAG_STREAM_BUFFER_BYTES_MAX", 4 << 20, ge=1 << 16)
    indexes_max: int = _env("RAG_INDEXES_MAX", 1000, ge=0)
    documents_max: int = _env("RAG_INDEX_DOCUMENTS_MAX", 0, ge=0)
    index_bytes_max: int = _env("RAG_INDEX_BYTES_MAX", 0, ge=0)


@dataclass(frozen=True, slots=True)
class RagSettings:
    host: str = _env("RAG_HOST", "0.0.0.0")
    port: int = _env("RAG_PORT", 5000, ge=0, le=65535)
    embedding_source: EmbeddingSource = _env("EMBEDDING_SOURCE_TYPE", "local")  # noqa: RUF009
    local_embedding_model: str = _env("LOCAL_EMBEDDING_MODEL_ID", "BAAI/bge-small-en-v1.5")
    remote_embedding_url: str = _env("REMOTE_EMBEDDING_URL", "http://localhost:5000/embedding")
    remote_embedding_model: str = _env("REMOTE_EMBEDDING_MODEL", "")
    remote_embedding_secret: str = _env("REMOTE_EMBEDDING_ACCESS_SECRET", "default-access-secret")
    embedding_precision: Literal["auto", "float32", "bfloat16"] = _env("EMBEDDING_PRECISION", "auto")
    embedding_threads: int = _env("EMBEDDING_THREADS", 0, ge=0, le=256)
    llm_url: str = _env("LLM_INFERENCE_URL", "")
    llm_secret: str = _env("LLM_ACCESS_SECRET", "default-access-secret")
    llm_context_tokens: int = _env("LLM_CONTEXT_WINDOW", 64_000, ge=1)
    llm_timeout_s: float = _env("LLM_TIMEOUT_S", 300.0, gt=0)
    llm_attempts: int = _env("LLM_ATTEMPTS", 3, ge=1, le=10)
    llm_tokenizer: str = _env("LLM_TOKENIZER", "")
    reranker: str = _env("LLM_RERANKER_MODEL", "")
    reranker_batch: int = _env("LLM_RERANKER_BATCH_SIZE", 5, ge=1)
    reranker_top: int = _env("LLM_RERANKER_TOP_N", 3, ge=1)
    vector_store: str = _env("VECTOR_DB_TYPE", "faiss")
    vector_store_url: str = _env("VECTOR_DB_URL", "")
    vector_store_secret: str = _env("VECTOR_DB_ACCESS_SECRET", "")
    storage: Path = _env("DEFAULT_VECTOR_DB_PERSIST_DIR", DEFAULT_STORAGE)  # noqa: RUF009
    similarity_threshold: float | None = _env("RAG_SIMILARITY_THRESHOLD", None, ge=0, le=4)
    context_fill_ratio: float = _env("RAG_CONTEXT_TOKEN_FILL_RATIO", 0.5, gt=0, le=1)
    top_k_max: int = _env("RAG_MAX_TOP_K", 300, ge=1)
    guardrails: bool = _env("OUTPUT_GUARDRAILS_ENABLED", False)
    guardrails_policy: str = _env("OUTPUT_GUARDRAILS_POLICY_PATH", "")
    guardrails_reload: bool = _env("OUTPUT_GUARDRAILS_HOT_RELOAD_ENABLED", True)
    api_keys: tuple[str, ...] = _env("KAITO_API_KEYS", ())
    api_key_file: str = _env("KAITO_API_KEY_FILE", "")
    snapshot_log_bytes: int = _env("RAG_SNAPSHOT_LOG_BYTES", 16 << 20, ge=1 << 10)
    log_format: Literal["auto", "console", "json"] = _env("KAITO_LOG_FORMAT", "auto")
    log_level: str = _env("KAITO_LOG_LEVEL", "info")
    limits: Limits = field(default_factory=Limits)


class SettingsInvalid(ValueError):
    """Every fault of the environment, one a line."""


def read_settings(environ: Mapping[str, str]) -> RagSettings:
    """Raises SettingsInvalid that names each variable, its value and what it takes."""
    faults: list[str] = []
    settings: RagSettings = _read(RagSettings, environ, faults)
    settings = replace(settings, limits=_read(Limits, environ, faults))
    for name, url in (("LLM_INFERENCE_URL", settings.llm_url), ("REMOTE_EMBEDDING_URL", settings.remote_embedding_url)):
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            faults.append(f"{name}={url!r}: expected a URL such as http://my-model/v1/chat/completions")
    if settings.guardrails and not settings.guardrails_policy:
        faults.append("OUTPUT_GUARDRAILS_ENABLED is on: set OUTPUT_GUARDRAILS_POLICY_PATH to the policy's file")
    if faults:
        raise SettingsInvalid("\n".join(faults))
    return settings


def _read(cls: Any, environ: Mapping[str, str], faults: list[str]) -> Any:
    hints = get_type_hints(cls)
    given: dict[str, Any] = {}
    for one in fields(cls):
        name = one.metadata.get("env", "")
        text = environ.get(name, "").strip()
        if not name or not text:
            continue
        try:
            given[one.name] = _parse(hints[one.name], text, one.metadata)
        except ValueError as error:
            faults.append(f"{name}={text!r}: {error}")
    return cls(**given)


def _parse(kind: Any, text: str, constraints: Mapping[str, Any]) -> Any:
    if get_origin(kind) is Literal:
        if text.lower() not in get_args(kind):
            raise ValueError(f"expected one of {', '.join(get_args(kind))}")
        return text.lower()
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise ValueError("expected true or false")
        return text.lower() in ("true", "1", "yes", "on")
    if kind in (int, float, float | None):
        return _number(int if kind is int else float, text, constraints)
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return kind(text)


def _number(kind: Any, text: str, constraints: Mapping[str, Any]) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"expected {'a whole number' if kind is int else 'a number'}") from None
    low, high, above = constraints.get("ge"), constraints.get("le"), constraints.get("gt")
    if (low is not None and not value >= low) or (above is not None and not value > above):
        raise ValueError(f"expected {'at least' if above is None else 'more than'} {low if above is None else above}")
    if high is not None and not value <= high:
        raise ValueError(f"expected at most {high}")
    return value
