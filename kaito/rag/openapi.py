"""The OpenAPI document, from the wire models and this table of routes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kaito import __version__
from kaito.rag import wire

NAME = "index_name"
Row = tuple[str, str, str, type[BaseModel] | None, type[BaseModel] | None, Any, tuple[int, ...]]
# method, path, summary, body, query parameters, answer, what else it answers
ROUTES: tuple[Row, ...] = (
    ("post", "/index", "Index documents; makes the index", wire.IndexRequest, None, [wire.Document], (400, 409, 507)),
    ("get", "/indexes", "Names of all indexes", None, None, [str], ()),
    ("delete", "/indexes/{index_name}", "Delete an index for good", None, None, wire.Message, (404,)),
    (
        "get",
        "/indexes/{index_name}/documents",
        "A page of documents",
        None,
        wire.ListParameters,
        wire.DocumentList,
        (400, 404),
    ),
    (
        "post",
        "/indexes/{index_name}/documents",
        "Update documents",
        wire.UpdateRequest,
        None,
        wire.UpdateAnswer,
        (400, 404, 507),
    ),
    (
        "post",
        "/indexes/{index_name}/documents/delete",
        "Delete documents",
        wire.DeleteRequest,
        None,
        wire.DeleteAnswer,
        (404,),
    ),
    ("post", "/persist/{index_name}", "Write a copy", None, wire.PersistParameters, wire.Message, (400, 404, 507)),
    (
        "post",
        "/load/{index_name}",
        "Make an index of a copy",
        None,
        wire.LoadParameters,
        wire.Message,
        (400, 404, 409, 507),
    ),
    ("post", "/retrieve", "Ranked passages", wire.RetrieveRequest, None, wire.RetrieveAnswer, (400, 404, 502)),
    (
        "post",
        "/v1/chat/completions",
        "Grounded chat completion",
        wire.ChatBody,
        None,
        wire.ChatAnswer,
        (400, 404, 502, 503, 504),
    ),
    ("get", "/v1/models", "Models of the model server", None, None, wire.AnyObject, (503,)),
    ("get", "/health", "Whether the process lives", None, None, wire.Health, ()),
    ("get", "/ready", "Whether it takes requests", None, None, wire.Health, (503,)),
)
OPEN = frozenset({"/health", "/ready", "/metrics", "/openapi.json"})


def document(*, has_keys: bool) -> dict[str, Any]:
    """OpenAPI 3.1."""
    models = {model for row in ROUTES for model in (row[3], row[4], _model(row[5])) if model is not None}
    models.add(wire.ErrorAnswer)
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda one: one.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for method, path, summary, body, query, reply, others in ROUTES:
        paths.setdefault(path, {})[method] = _operation(path, summary, body, query, reply, others)
    text = {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}
    paths["/metrics"] = {"get": {"summary": "Metrics", "responses": {"200": text}}}
    built: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "KAITO RAG service", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }
    if has_keys:
        built["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        built["security"] = [{"key": []}]
    return built


def _model(reply: Any) -> type[BaseModel] | None:
    kind = reply[0] if isinstance(reply, list) else reply
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _ref(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"type": "array", "items": _ref(kind[0])}
    return {"type": "string"} if kind is str else {"$ref": f"#/components/schemas/{kind.__name__}"}


def _json(kind: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(kind)}}


def _operation(
    path: str, summary: str, body: Any, query: type[BaseModel] | None, reply: Any, others: tuple[int, ...]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "Done", "content": _json(reply)}},
    }
    common = () if path in OPEN else (401, 408, 413, 415, 422, 429, 500, 504)
    for status in sorted({*others, *common}):
        found["responses"][str(status)] = {"description": "Refused", "content": _json(wire.ErrorAnswer)}
    parameters: list[dict[str, Any]] = []
    if NAME in path:
        schema = {"type": "string", "minLength": 1, "maxLength": wire.NAME_CHARACTERS_MAX}
        parameters.append({"name": NAME, "in": "path", "required": True, "schema": schema})
    if query is not None:
        for name, schema in query.model_json_schema()["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": _json(body)}
    if path in OPEN:
        found["security"] = []
    return found
