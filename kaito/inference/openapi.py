"""The OpenAPI document, made from the wire models."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from kaito import __version__
from kaito.inference.routes.models import LoadAdapter, UnloadAdapter
from kaito.web.openai.chat import ChatCompletion, ChatRequest
from kaito.web.openai.completions import Completion, CompletionRequest
from kaito.web.openai.embeddings import EmbeddingList, EmbeddingRequest
from kaito.web.openai.models import ModelList
from kaito.web.openai.responses import ResponsesRequest
from kaito.web.openai.tokens import DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse


class ErrorBody(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct):
    """What every path answers when it cannot do what was asked."""

    error: ErrorBody


POSTS: tuple[tuple[str, str, Any, Any], ...] = (
    ("/v1/chat/completions", "A chat completion, whole or as server-sent events", ChatRequest, ChatCompletion),
    ("/v1/completions", "A completion, whole or as server-sent events", CompletionRequest, Completion),
    ("/v1/responses", "A response, whole or as server-sent events", ResponsesRequest, dict[str, Any]),
    ("/v1/embeddings", "Embeddings, where the model makes them", EmbeddingRequest, EmbeddingList),
    ("/tokenize", "Token ids of a text or a conversation", TokenizeRequest, TokenizeResponse),
    ("/detokenize", "The text of token ids", DetokenizeRequest, DetokenizeResponse),
    ("/v1/load_lora_adapter", "Serves another adapter, where that is allowed", LoadAdapter, str),
    ("/v1/unload_lora_adapter", "Serves an adapter no more, where that is allowed", UnloadAdapter, str),
)
GETS: tuple[tuple[str, str, str], ...] = (
    ("/health", "Whether the process is alive and its engine whole", "application/json"),
    ("/ready", "Whether requests would be answered now", "application/json"),
    ("/metrics", "Prometheus metrics under vLLM's names", "text/plain"),
    ("/version", "The server's version", "application/json"),
    ("/kaito/benchmark", "The start-up benchmark's result", "application/json"),
    ("/openapi.json", "This document", "application/json"),
)
STREAMED = {"/v1/chat/completions", "/v1/completions", "/v1/responses"}


@cache
def document() -> bytes:
    """OpenAPI 3.1, JSON."""
    kinds = [kind for _, _, request, answer in POSTS for kind in (request, answer)] + [ModelList, ErrorEnvelope]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    pairs = list(zip(schemas[0:-2:2], schemas[1:-2:2], strict=True))
    paths: dict[str, Any] = {
        path: {"post": _operation(text, _json(answer, path in STREAMED), _json(request))}
        for (path, text, _, _), (request, answer) in zip(POSTS, pairs, strict=True)
    }
    paths["/v1/models"] = {"get": _operation("What is served: the model, then its adapters", _json(schemas[-2]))}
    for path, text, media in GETS:
        paths[path] = {"get": _operation(text, {media: {"schema": {}}})}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "KAITO model server", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(text: str, answer: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    failed = {"description": "Why not", "content": _json({"$ref": "#/components/schemas/ErrorEnvelope"})}
    operation: dict[str, Any] = {
        "summary": text,
        "responses": {"200": {"description": text, "content": answer}, "default": failed},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _json(schema: dict[str, Any], is_streamed: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    return content | {"text/event-stream": {"schema": {"type": "string"}}} if is_streamed else content
