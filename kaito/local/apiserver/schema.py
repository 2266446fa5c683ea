"""Structural schemas of custom resources: pruning, defaulting and validation in the real server's words."""

from __future__ import annotations

import re
from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver.errors import invalid_value, required, shown
from kaito.local.apiserver.json_values import copied

METADATA = ("apiVersion", "kind", "metadata")
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"


def prune(value: Any, schema: Json, path: str = "", *, is_root: bool = True) -> list[str]:
    """Removes what the schema does not know, in place; returns the removed paths."""
    removed: list[str] = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            removed += prune(item, schema.get("items") or {}, f"{path}[{index}]", is_root=False)
        return removed
    if not isinstance(value, dict):
        return removed
    known, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for key in list(value):
        at = f"{path}.{key}" if path else key
        if (is_root or schema.get(EMBEDDED)) and key in METADATA:
            continue
        if key in known:
            removed += prune(value[key], known[key], at, is_root=False)
        elif isinstance(additional, dict):
            removed += prune(value[key], additional, at, is_root=False)
        elif not schema.get(PRESERVE) and additional is not True:
            del value[key]
            removed.append(at)
    return removed


def apply_defaults(value: Any, schema: Json) -> None:
    """Writes the schema's defaults where fields are absent, in place."""
    if isinstance(value, list):
        for item in value:
            apply_defaults(item, schema.get("items") or {})
    if not isinstance(value, dict):
        return
    for key, child in (schema.get("properties") or {}).items():
        if "default" in child and (key not in value or (value[key] is None and not child.get("nullable"))):
            value[key] = copied(child["default"])
        if key in value:
            apply_defaults(value[key], child)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        for key, item in value.items():
            if key not in (schema.get("properties") or {}):
                apply_defaults(item, additional)


def drop_nulls(value: Any, schema: Json) -> None:
    """A null where the schema does not say nullable counts as absent, in place."""
    if isinstance(value, list):
        for item in value:
            drop_nulls(item, schema.get("items") or {})
    if isinstance(value, dict):
        for key in list(value):
            child = (schema.get("properties") or {}).get(key)
            if child is None:
                continue
            if value[key] is None and not child.get("nullable") and "default" in child:
                del value[key]
            else:
                drop_nulls(value[key], child)


def validate(value: Any, schema: Json, path: str = "") -> list[Json]:
    """The causes of a 422; empty when the value fits."""
    if value is None and schema.get("nullable"):
        return []
    if schema.get(INT_OR_STRING):
        if isinstance(value, str) or _is_integer(value):
            return []
        return [invalid_value(path, _type(value), f'{path} in body must be of type integer,string: "{_type(value)}"')]
    wanted = schema.get("type")
    if wanted and not _fits(value, wanted):
        why = f'{path} in body must be of type {wanted}: "{_type(value)}"'
        return [{"reason": "FieldValueTypeInvalid", "message": f"Invalid value: {shown(_type(value))}: {why}",
                 "field": path or "<nil>"}]  # fmt: skip
    causes = _enumerated(value, schema, path)
    if isinstance(value, bool):
        return causes
    if isinstance(value, str):
        causes += _text(value, schema, path)
    elif isinstance(value, int | float):
        causes += _number(value, schema, path)
    elif isinstance(value, list):
        causes += _list(value, schema, path)
    elif isinstance(value, dict):
        causes += _object(value, schema, path)
    return causes


def _enumerated(value: Any, schema: Json, path: str) -> list[Json]:
    allowed = schema.get("enum")
    if allowed is None or value in allowed:
        return []
    choices = ", ".join(shown(item) for item in allowed)
    message = f"Unsupported value: {shown(value)}: supported values: {choices}"
    return [{"reason": "FieldValueNotSupported", "message": message, "field": path}]


def _text(value: str, schema: Json, path: str) -> list[Json]:
    causes = []
    if (pattern := schema.get("pattern")) and not re.search(pattern, value):
        causes.append(invalid_value(path, value, f"{path} in body should match '{pattern}'"))
    if (least := schema.get("minLength")) is not None and len(value) < least:
        causes.append(invalid_value(path, value, f"{path} in body should be at least {least} chars long"))
    if (most := schema.get("maxLength")) is not None and len(value) > most:
        message = f"Too long: may not be more than {most} bytes"
        causes.append({"reason": "FieldValueTooLong", "message": message, "field": path})
    return causes


def _number(value: float, schema: Json, path: str) -> list[Json]:
    causes = []
    if (least := schema.get("minimum")) is not None and value < least:
        causes.append(invalid_value(path, value, f"{path} in body should be greater than or equal to {least}"))
    if (most := schema.get("maximum")) is not None and value > most:
        causes.append(invalid_value(path, value, f"{path} in body should be less than or equal to {most}"))
    return causes


def _list(value: list[Any], schema: Json, path: str) -> list[Json]:
    causes: list[Json] = []
    if (least := schema.get("minItems")) is not None and len(value) < least:
        causes.append(invalid_value(path, len(value), f"{path} in body should have at least {least} items"))
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        message = f"Too many: {len(value)}: must have at most {most} items"
        causes.append({"reason": "FieldValueTooMany", "message": message, "field": path})
    for index, item in enumerate(value):
        causes += validate(item, schema.get("items") or {}, f"{path}[{index}]")
    return causes


def _object(value: Json, schema: Json, path: str) -> list[Json]:
    causes: list[Json] = []
    for name in schema.get("required") or ():
        if name not in value:
            causes.append(required(f"{path}.{name}" if path else name))
    known, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in value.items():
        at = f"{path}.{key}" if path else key
        if key in known and not (path == "" and key in METADATA):
            causes += validate(item, known[key], at)
        elif isinstance(additional, dict):
            causes += validate(item, additional, at)
    return causes


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fits(value: Any, wanted: str) -> bool:
    match wanted:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_integer(value) or (isinstance(value, float) and value.is_integer())
        case "number":
            return _is_integer(value) or isinstance(value, float)
        case _:
            return True


def _type(value: Any) -> str:
    names = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")
