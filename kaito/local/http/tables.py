"""Tables: objects as meta.k8s.io Tables, with the columns of their kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from kaito.api.meta import Json
from kaito.local.apiserver import Resource
from kaito.local.http.columns import BUILT_IN, OTHER
from kaito.local.http.durations import since
from kaito.local.http.jsonpath import Step, find, parse_path

PARTIAL = "PartialObjectMetadata"
NAME: Json = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def as_table(
    resource: Resource, objects: Iterable[Json], api_version: str, now: datetime, *, metadata: Json | None = None,
    include: str = "Metadata", has_header: bool = True,
) -> Json:  # fmt: skip
    """`include`: what each row carries of its object: Metadata, Object or None."""
    header = column_definitions(resource) if has_header else []
    rows = []
    for obj in objects:
        row: Json = {"cells": cells(resource, obj, now)}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = as_partial(obj, api_version)
        rows.append(row)
    return {"kind": "Table", "apiVersion": api_version, "metadata": metadata or {}, "columnDefinitions": header,
            "rows": rows}  # fmt: skip


def as_partial(obj: Json, api_version: str) -> Json:
    return {"kind": PARTIAL, "apiVersion": api_version, "metadata": obj.get("metadata") or {}}


def column_definitions(resource: Resource) -> list[Json]:
    if not resource.is_custom:
        return [column.definition() for column in BUILT_IN.get(resource.kind, OTHER)[0]]
    return [
        NAME,
        *(
            {"name": column["name"], "type": column["type"], "format": column.get("format", ""),
             "description": column.get("description", ""), "priority": column.get("priority", 0)}
            for column in resource.columns or (AGE,)
        ),
    ]  # fmt: skip


def cells(resource: Resource, obj: Json, now: datetime) -> list[Any]:
    """As many as there are column definitions."""
    name = obj["metadata"].get("name", "")
    if not resource.is_custom:
        found = BUILT_IN.get(resource.kind, OTHER)[1](obj, now)
        return found if resource.kind == "Event" else [name, *found]
    return [name, *(_custom_cell(column, obj, now) for column in resource.columns or (AGE,))]


def _custom_cell(column: Json, obj: Json, now: datetime) -> Any:
    found = find(obj, _path(column["jsonPath"]))
    if not found or found[0] is None:
        return None
    value = found[0]
    match column["type"]:
        case "date":
            return since(value, now)
        case "integer":
            return int(value) if isinstance(value, int | float) else None
        case "string":
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
        case _:
            return value


@lru_cache(maxsize=1_024)
def _path(text: str) -> tuple[Step, ...]:
    try:
        return parse_path(text)
    except ValueError:
        return (("field", ""),)  # a column that cannot be read stays empty
