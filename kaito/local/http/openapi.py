"""/openapi/v3 and /openapi/v2: what kubectl explains, and from which it knows that the server validates fields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from kaito.api.meta import Json
from kaito.local.apiserver import Resource
from kaito.local.apiserver.registry import Registry
from kaito.local.http import built_in_types
from kaito.local.http.built_in_types import REFERENCE
from kaito.local.http.discovery import groups_of
from kaito.local.http.protobuf import field

GVK = "x-kubernetes-group-version-kind"
META_MODELS = ("V1ObjectMeta", "V1ListMeta", "V1DeleteOptions", "V1Status")
WRITING = ("dryRun", "fieldManager", "fieldValidation", "pretty")
READING = ("labelSelector", "fieldSelector", "limit", "continue", "watch", "timeoutSeconds", "resourceVersion")
V3_FROM = (1, 24)


class OpenApi:
    """Documents are made when they are asked for, and again when the resources of their group have changed."""

    def __init__(self, registry: Registry, emulate: tuple[int, int]) -> None:
        self._registry, self._emulate = registry, emulate
        self._made: dict[str, tuple[tuple[Resource, ...], str, Json]] = {}

    def index(self) -> Json | None:
        """`/openapi/v3`: where the document of each group version is. The hash tells clients when to ask anew."""
        if self._emulate < V3_FROM:
            return None
        paths = {}
        for name in self._paths():
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={self._hash(name)}"}
        return {"paths": paths}

    def document(self, name: str) -> Json | None:
        """The document of `api/v1` or `apis/GROUP/VERSION`."""
        if self._emulate < V3_FROM or name not in self._paths():
            return None
        return self._document(name)[2]

    def version_2(self) -> Json:
        """Everything in one Swagger document."""
        definitions: dict[str, Json] = {}
        paths: dict[str, Json] = {}
        for name in self._paths():
            document = self._document(name)[2]
            definitions |= document["components"]["schemas"]
            paths |= document["paths"]
        found = {"swagger": "2.0", "info": self._info(), "paths": {path: _as_2(item) for path, item in paths.items()},
                 "definitions": definitions}  # fmt: skip
        text = msgspec.json.encode(found).replace(REFERENCE.encode(), b"#/definitions/")
        result: Json = msgspec.json.decode(text)
        return result

    def version_2_protobuf(self) -> bytes:
        """The head of that document as gnostic's protobuf, without definitions and paths.

        kubectl before 1.27 would want them. Newer ones ask for it when version 3 does not know a kind, and are told
        so: then they name the kind that there is not.
        """
        info = field(1, self._info()["title"].encode()) + field(2, self._info()["version"].encode())
        return field(1, b"2.0") + field(2, info) + field(8, b"") + field(9, b"")

    def _paths(self) -> dict[str, tuple[Resource, ...]]:
        return {
            (f"apis/{group}/{version}" if group else f"api/{version}"): tuple(resources)
            for group, versions in groups_of(self._registry.all()).items()
            for version, resources in versions.items()
        }

    def _hash(self, name: str) -> str:
        """Of what the document is made from: the document itself costs a second."""
        resources = self._paths()[name]
        facts = [(item.plural, item.kind, item.schema, sorted(item.subresources)) for item in resources]
        return hashlib.sha256(msgspec.json.encode([self._emulate, facts])).hexdigest().upper()

    def _document(self, name: str) -> tuple[tuple[Resource, ...], str, Json]:
        resources, digest = self._paths()[name], self._hash(name)
        known = self._made.get(name)
        if known is None or known[1] != digest:
            known = self._made[name] = (resources, digest, self._make(resources))
        return known

    def _make(self, resources: tuple[Resource, ...]) -> Json:
        models = {item: model for item in resources if not item.is_custom and (model := built_in_types.model_of(item))}
        schemas = built_in_types.components([*META_MODELS, *models.values()])
        paths: dict[str, Json] = {}
        for item in resources:
            name = built_in_types.schema_name(models[item]) if item in models else _custom_name(item)
            schema = schemas.get(name) or _custom(item)
            schemas[name] = schema | {GVK: [_kind(item)]}
            schemas[f"{name}List"] = _list(item, name)
            paths |= _paths_of(item, name)
        return {"openapi": "3.0.0", "info": self._info(), "paths": paths, "components": {"schemas": schemas}}

    def _info(self) -> Json:
        major, minor = self._emulate
        return {"title": "Kubernetes", "version": f"v{major}.{minor}.0"}


def _kind(item: Resource) -> Json:
    return {"group": item.group, "version": item.version, "kind": item.kind}


def _custom_name(item: Resource) -> str:
    """`sh.kaito.v1beta1.Workspace`."""
    group = ".".join(reversed(item.group.split("."))) or "io.k8s.api"
    return f"{group}.{item.version}.{item.kind}"


def _reference(model: str) -> Json:
    return {"allOf": [{"$ref": REFERENCE + built_in_types.schema_name(model)}]}


def _custom(item: Resource) -> Json:
    schema = dict(item.schema or {"type": "object"})
    words = {"apiVersion": "Group and version of this representation.", "kind": "The kind of the object."}
    texts = {name: {"type": "string", "description": text} for name, text in words.items()}
    schema["properties"] = {**(schema.get("properties") or {}), **texts, "metadata": _reference("V1ObjectMeta")}
    return schema


def _list(item: Resource, name: str) -> Json:
    properties: Json = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": _reference("V1ListMeta"),
        "items": {"type": "array", "items": {"allOf": [{"$ref": REFERENCE + name}]}},
    }
    return {"type": "object", "required": ["items"], "properties": properties,
            GVK: [_kind(item) | {"kind": item.list_kind}]}  # fmt: skip


def _paths_of(item: Resource, name: str) -> dict[str, Json]:
    base = f"/apis/{item.group}/{item.version}" if item.group else f"/api/{item.version}"
    base += "/namespaces/{namespace}" if item.namespaced else ""
    operation = _operations(item, name)
    shared = [_in_path("namespace")] if item.namespaced else []
    found: dict[str, Json] = {
        f"{base}/{item.plural}": {
            "get": operation("list", READING),
            "post": operation("post", WRITING),
            "delete": operation("deletecollection", READING),
            "parameters": shared,
        },
        f"{base}/{item.plural}/{{name}}": {
            "get": operation("get", ("pretty",)),
            "put": operation("put", WRITING),
            "patch": operation("patch", (*WRITING, "force")),
            "delete": operation("delete", ("dryRun", "gracePeriodSeconds", "propagationPolicy")),
            "parameters": [*shared, _in_path("name")],
        },
    }
    if item.namespaced:
        of_all = base.removesuffix("/namespaces/{namespace}")
        found[f"{of_all}/{item.plural}"] = {"get": operation("list", READING), "parameters": []}
    if "status" in item.subresources:
        found[f"{base}/{item.plural}/{{name}}/status"] = {
            "get": operation("get", ("pretty",)),
            "put": operation("put", WRITING),
            "patch": operation("patch", (*WRITING, "force")),
            "parameters": [*shared, _in_path("name")],
        }
    return found


def _operations(item: Resource, name: str) -> Callable[[str, tuple[str, ...]], Json]:
    def make(action: str, parameters: tuple[str, ...]) -> Json:
        listed = action in ("list", "deletecollection")
        schema = {"$ref": REFERENCE + (f"{name}List" if listed else name)}
        found: Json = {
            "x-kubernetes-action": action,
            GVK: _kind(item),
            "parameters": [_in_query(parameter) for parameter in parameters],
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
        }
        if action in ("post", "put"):
            found["requestBody"] = {"content": {"*/*": {"schema": {"$ref": REFERENCE + name}}}}
        return found

    return make


def _in_query(name: str) -> Json:
    kind = {"limit": "integer", "timeoutSeconds": "integer", "gracePeriodSeconds": "integer", "watch": "boolean",
            "force": "boolean"}  # fmt: skip
    return {"name": name, "in": "query", "schema": {"type": kind.get(name, "string"), "uniqueItems": True}}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def _as_2(path: Json) -> Json:
    """A path of version 3 in version 2: types of parameters stand beside their names, bodies are parameters."""

    def parameter(found: Json) -> Json:
        return {key: value for key, value in found.items() if key != "schema"} | {"type": found["schema"]["type"]}

    result: Json = {}
    for method, found in path.items():
        if method == "parameters":
            result[method] = [parameter(one) for one in found]
            continue
        kept = {key: value for key, value in found.items() if key not in ("requestBody", "responses", "parameters")}
        schema = found["responses"]["200"]["content"]["application/json"]["schema"]
        parameters = [parameter(one) for one in found["parameters"]]
        if "requestBody" in found:
            body = found["requestBody"]["content"]["*/*"]["schema"]
            parameters.append({"name": "body", "in": "body", "required": True, "schema": body})
        result[method] = kept | {
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "schema": schema}},
        }
    return result
