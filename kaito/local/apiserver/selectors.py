"""Selectors: label and field selectors as predicates over objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from kaito.api.meta import Json
from kaito.local.apiserver.errors import bad_request

Predicate: TypeAlias = Callable[[Json], bool]
SET = re.compile(r"^([\w./-]+)\s+(in|notin)\s*\(([^)]*)\)$")
EQUALITY = re.compile(r"^([\w./-]+)\s*(==|!=|=)\s*([\w.-]*)$")
EXISTS = re.compile(r"^(!?)\s*([\w./-]+)$")
COMMA = re.compile(r",(?![^(]*\))")  # not within parentheses

FIELDS: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset(
        ("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase",
         "status.podIP", "status.nominatedNodeName")
    ),
    ("", "events"): frozenset(
        (*(f"involvedObject.{name}" for name in
           ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")),
         "reason", "reportingComponent", "source", "type")
    ),
    ("", "nodes"): frozenset(("spec.unschedulable",)),
    ("", "namespaces"): frozenset(("status.phase",)),
    ("", "secrets"): frozenset(("type",)),
    ("batch", "jobs"): frozenset(("status.successful",)),
}  # fmt: skip


def parse_labels(text: str) -> Predicate:
    """Raises StatusError 400 that shows the requirement which cannot be read."""
    tests = [_label_test(part.strip()) for part in COMMA.split(text)] if text.strip() else []
    return lambda obj: all(test((obj.get("metadata") or {}).get("labels") or {}) for test in tests)


def _label_test(part: str) -> Predicate:
    if match := SET.match(part):
        key, operator, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        if operator == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if match := EQUALITY.match(part):
        key, operator, value = match[1], match[2], match[3]
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := EXISTS.match(part):
        key = match[2]
        return (lambda labels: key not in labels) if match[1] else (lambda labels: key in labels)
    raise bad_request(f"unable to parse requirement: {part!r} is no label requirement (a=b, a!=b, a in (b,c), a, !a)")


def parse_fields(text: str, key: tuple[str, str]) -> Predicate:
    """Raises StatusError 400 for a field that the resource cannot be selected by."""
    known = FIELDS.get(key, frozenset())
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.match(r"^([\w.]+)\s*(==|!=|=)\s*(.*)$", part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if match[1] not in ("metadata.name", "metadata.namespace") and match[1] not in known:
            raise bad_request(f'field label not supported: "{match[1]}"')
        tests.append((match[1], match[2] != "!=", match[3]))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def _field(obj: Json, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if path == "status.phase" and value is None and obj.get("kind") == "Pod":
        return "Pending"
    if value is None:
        return "false" if path == "spec.unschedulable" else ""
    if isinstance(value, dict):
        return str(value.get("component", ""))
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
