"""Which instance type is asked for: the first choice, or one of its fallbacks once the cloud has refused the others.

The choice is written down in the status (`instanceType`, `refusedInstanceTypes`), so that it survives a restart and no
view wavers. It moves only while nothing runs, and only after a claim's launch has timed out, so never in a hot loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kaito.api.meta import Json
from kaito.api.names import INSTANCE_TYPE_FALLBACKS_ANNOTATION
from kaito.api.workspace import Workspace
from kaito.clock import rfc3339
from kaito.plan.roots import RootMeta
from kaito.plan.snapshot import parse_time


@dataclass(frozen=True, slots=True)
class Refusal:
    """The cloud gave no machine of this type."""

    instance_type: str
    reason: str
    message: str


def choices(root: RootMeta, ws: Workspace) -> tuple[str, ...]:
    """The instance types that may be asked for, the first choice first, without duplicates."""
    fallbacks = root.annotations.get(INSTANCE_TYPE_FALLBACKS_ANNOTATION, "").split(",")
    names = [ws.resource.instance_type or "", *(name.strip() for name in fallbacks)]
    return tuple(dict.fromkeys(name for name in names if name))


def chosen_type(root: RootMeta, ws: Workspace, *, is_running: bool) -> str:
    """The type to ask for now. What runs keeps the type that it was given, whatever the annotation says today."""
    known, current = choices(root, ws), str(root.status.get("instanceType") or "")
    if current and (is_running or current in known):
        return current
    return known[0] if known else ""


def after_refusal(root: RootMeta, ws: Workspace, refusal: Refusal, now: datetime, *, memory_s: float) -> Json:
    """The part of the status that turns to the next type: the first after the refused one that was not refused lately.

    When all were, the one whose refusal is oldest. Empty where there is no other.
    """
    known = choices(root, ws)
    if len(known) < 2:
        return {}
    told = {entry["instanceType"]: entry for entry in root.status.get("refusedInstanceTypes") or ()}
    told |= {refusal.instance_type: _entry(refusal, now)}
    ages = {name: _age_s(told.get(name), now) for name in known}
    at = known.index(refusal.instance_type) if refusal.instance_type in known else 0
    others = [*known[at + 1 :], *known[:at]]
    fresh = [name for name in others if ages[name] > memory_s]
    return {
        "instanceType": fresh[0] if fresh else max(others, key=lambda name: ages[name]),
        "refusedInstanceTypes": [told[name] for name in known if name in told],
        "targetNodeCount": None,  # how many of the new type are needed is a new question
        "contextTokens": None,
    }


def _entry(refusal: Refusal, now: datetime) -> Json:
    return {
        "instanceType": refusal.instance_type,
        "reason": refusal.reason,
        "message": refusal.message,
        "at": rfc3339(now),
    }


def _age_s(entry: Json | None, now: datetime) -> float:
    at = parse_time(entry.get("at")) if entry else None
    return (now - at).total_seconds() if at else float("inf")
