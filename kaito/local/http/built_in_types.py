"""The built-in kinds' types, as OpenAPI schemas: from the models of kubernetes-asyncio, which are generated from them.

The models are imported when they are first asked for: they take a second and 50 MB, which the simulator need not spend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver import Resource
from kaito.local.apiserver.merge_keys import ATOMIC, SET, merging_of, patch_key

REFERENCE = "#/components/schemas/"
MODEL_NAME = re.compile(r"^(?P<group>[A-Z][a-z]+)?(?P<version>V\d+(?:(?:alpha|beta)\d+)?)(?P<name>[A-Z].*)$")
LIST_OF, MAP_OF = re.compile(r"^list\[(.*)\]$"), re.compile(r"^dict\(str, (.*)\)$")
SCALARS: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "format": "int32"},
    "float": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
QUANTITY: Json = {"x-kubernetes-int-or-string": True, "description": "Quantity, such as 1500m or 16Gi."}
# Amounts of resources, in maps by the name of the resource and as single fields.
QUANTITY_MAPS = frozenset(("limits", "requests", "capacity", "allocatable", "allocatedResources", "overhead", "hard",
                           "used", "default", "defaultRequest", "max", "min", "maxLimitRequestRatio"))  # fmt: skip
QUANTITIES = frozenset(("sizeLimit", "divisor"))
INT_OR_STRING = frozenset(("port", "targetPort", "maxSurge", "maxUnavailable", "minAvailable"))  # typed `object`
MODELS_ELSEWHERE = {("", "Event"): "CoreV1Event"}
SCHEMA_MODEL = "V1JSONSchemaProps"  # refers to itself, and is looked at by the CRD rules of the core


@cache
def _models() -> Any:
    from kubernetes_asyncio.client import models

    return models


def model_of(resource: Resource) -> str:
    """The name of the model of a built-in resource; empty where there is none."""
    version = resource.version[0].upper() + resource.version[1:]
    name = MODELS_ELSEWHERE.get((resource.group, resource.kind), f"{version}{resource.kind}")
    return name if hasattr(_models(), name) else ""


@cache
def schema_name(model: str) -> str:
    """`io.k8s.core.v1.Event` of CoreV1Event, `io.k8s.api.v1.PodSpec` of V1PodSpec."""
    match = MODEL_NAME.match(model)
    if match is None:
        return f"io.k8s.{model}"
    return f"io.k8s.{(match['group'] or 'api').lower()}.{match['version'].lower()}.{match['name']}"


def components(models: Iterable[str]) -> dict[str, Json]:
    """These models and all that they refer to, by schema name, with the keys by which their lists merge."""
    found: dict[str, Json] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(model, ()) for model in models]
    while waiting:
        model, path = waiting.pop()
        if schema_name(model) in found:
            continue
        found[schema_name(model)] = _component(model, path)
        for attribute, type_ in getattr(_models(), model).openapi_types.items():
            if (inner := _model_in(type_)) is not None:
                waiting.append((inner, (*path, getattr(_models(), model).attribute_map[attribute])))
    return dict(sorted(found.items()))


def _model_in(type_: str) -> str | None:
    """The model that a type is made of."""
    while match := LIST_OF.match(type_) or MAP_OF.match(type_):
        type_ = match[1]
    return None if type_ in SCALARS else type_


def _component(model: str, path: tuple[str, ...]) -> Json:
    cls = getattr(_models(), model)
    properties: dict[str, Json] = {}
    for attribute, type_ in cls.openapi_types.items():
        field = cls.attribute_map[attribute]
        schema = _property(field, type_)
        if LIST_OF.match(type_):
            schema |= _merging((*path, field))
        if words := _words(cls, attribute):
            schema = {"description": words} | schema
        properties[field] = schema
    required = sorted(cls.attribute_map[name] for name in cls.openapi_types if _is_required(cls, name))
    found: Json = {"type": "object", "properties": dict(sorted(properties.items()))}
    return found | ({"required": required} if required else {})


def _property(field: str, type_: str) -> Json:
    if field in QUANTITIES and type_ == "str":
        return dict(QUANTITY)
    if field in INT_OR_STRING and type_ == "object":
        return {"x-kubernetes-int-or-string": True}
    if field in QUANTITY_MAPS and type_ == "dict(str, str)":
        return {"type": "object", "additionalProperties": dict(QUANTITY)}
    if match := LIST_OF.match(type_):
        return {"type": "array", "items": _property("", match[1])}
    if match := MAP_OF.match(type_):
        return {"type": "object", "additionalProperties": _property("", match[1])}
    if type_ in SCALARS:
        return dict(SCALARS[type_])
    return {"allOf": [{"$ref": REFERENCE + schema_name(type_)}]}


def _merging(path: tuple[str, ...]) -> Json:
    """How a list merges, in the words of Kubernetes' schemas."""
    merging = merging_of(path, None)
    key = patch_key(path)
    found: Json = {"x-kubernetes-list-type": merging.type}
    if merging.keys:
        found["x-kubernetes-list-map-keys"] = list(merging.keys)
    if key is not None:
        found["x-kubernetes-patch-strategy"] = "merge"
    if key:
        found["x-kubernetes-patch-merge-key"] = key
    return found if merging.type in (ATOMIC, SET) or merging.keys else {}


def _words(cls: Any, attribute: str) -> str:
    """What the field is for, from the model's documentation."""
    lines = (getattr(cls, attribute).fget.__doc__ or "").splitlines()
    return lines[2].replace("# noqa: E501", "").strip() if len(lines) > 2 else ""


def _is_required(cls: Any, attribute: str) -> bool:
    constants = getattr(cls, attribute).fset.__code__.co_consts
    return any(isinstance(item, str) and "must not be `None`" in item for item in constants)


@cache
def type_schema(model: str) -> Json:
    """The model with everything that it refers to in its place, for pruning and for checking types.

    Every field may be null, as Go's decoder has it, and none is required: that is for validation to say.
    """
    cls = getattr(_models(), model)
    if model == SCHEMA_MODEL:
        return dict(SCALARS["object"])
    properties = {cls.attribute_map[name]: _typed(cls.attribute_map[name], type_)
                  for name, type_ in cls.openapi_types.items()}  # fmt: skip
    return {"type": "object", "properties": properties, "nullable": True}


def _typed(field: str, type_: str) -> Json:
    if match := LIST_OF.match(type_):
        return {"type": "array", "items": _typed("", match[1]), "nullable": True}
    if (match := MAP_OF.match(type_)) and field not in QUANTITY_MAPS:
        return {"type": "object", "additionalProperties": _typed("", match[1]), "nullable": True}
    if type_ == "object" and field not in INT_OR_STRING:
        return {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}
    if type_ in SCALARS or match:
        found = {key: value for key, value in _property(field, type_).items() if key != "description"}
        return found | {"nullable": True}
    return type_schema(type_)


def schema_of(resource: Resource) -> Json | None:
    """The types of a built-in resource's fields; None for a custom one."""
    model = "" if resource.is_custom else model_of(resource)
    return type_schema(model) if model else None
