"""Conditions of foreign objects, written as their controllers write them: a time moves only when the status does."""

from __future__ import annotations

from datetime import datetime, timedelta

from kaito.api.meta import Json
from kaito.clock import parse_rfc3339, rfc3339


def find_condition(obj: Json, type_: str) -> Json | None:
    conditions: list[Json] = (obj.get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item.get("type") == type_), None)


def is_condition_true(obj: Json, type_: str) -> bool:
    found = find_condition(obj, type_)
    return found is not None and found.get("status") == "True"


def with_conditions(existing: list[Json], *wanted: Json, now: datetime) -> list[Json]:
    """`wanted` merged into `existing` by type: what says the same keeps its time and its place; None drops a field."""
    merged = {item["type"]: item for item in existing}
    for want in wanted:
        old = merged.get(want["type"])
        keeps_time = old is not None and old.get("status") == want["status"]
        since = old["lastTransitionTime"] if old is not None and keeps_time else rfc3339(now)
        both = {**(old or {}), "lastTransitionTime": since, **want}
        merged[want["type"]] = {key: value for key, value in both.items() if value is not None}
    return list(merged.values())


def condition(type_: str, status: str = "True", reason: str = "", message: str = "") -> Json:
    return {"type": type_, "status": status, "reason": reason or type_, "message": message}


def since(obj: Json, type_: str) -> datetime | None:
    """When the condition came true."""
    found = find_condition(obj, type_)
    if found is None or found.get("status") != "True":
        return None
    return parse_rfc3339(found["lastTransitionTime"])


def created(obj: Json) -> datetime:
    return parse_rfc3339(obj["metadata"]["creationTimestamp"])


def left_s(start: datetime, delay_s: float, now: datetime) -> float:
    """Seconds until `delay_s` after the start; 0 when that has passed.

    Starts are whole seconds (metav1.Time): a stage may end up to a second early, and never late.
    """
    return max(0.0, (start + timedelta(seconds=delay_s) - now).total_seconds())
