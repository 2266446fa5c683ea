"""Verdicts' conclusions → status.conditions: a condition moves only when its status does.

`lastTransitionTime` is kept while the status stays the same, conditions of types that we do not write are kept as they
are, and the order of what is there is kept: what has not changed makes no write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaito.api.meta import Json
from kaito.clock import rfc3339

MESSAGE_CHARS_MAX = 32_768  # metav1.Condition
REASON_CHARS_MAX = 1_024  # metav1.Condition
NOT_IN_A_REASON = re.compile(r"[^A-Za-z0-9_,:]")


@dataclass(frozen=True, slots=True)
class WantedCondition:
    """What a condition should say now."""

    type: str
    is_true: bool
    reason: str
    message: str


def merge_conditions(
    existing: Sequence[Json],
    wanted: Iterable[WantedCondition],
    *,
    generation: int,
    now: datetime,
    dropped: frozenset[str] = frozenset(),
) -> list[Json]:
    """The conditions to write: `wanted` merged into `existing`, without the types in `dropped`."""
    merged = {item["type"]: item for item in existing if item["type"] not in dropped}
    for want in wanted:
        merged[want.type] = _condition(want, merged.get(want.type), generation, now)
    return list(merged.values())


def _condition(want: WantedCondition, old: Json | None, generation: int, now: datetime) -> Json:
    status = "True" if want.is_true else "False"
    is_same = old is not None and old.get("status") == status and bool(old.get("lastTransitionTime"))
    return {
        "type": want.type,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and is_same else rfc3339(now),
        "reason": valid_reason(want.reason),
        "message": want.message[:MESSAGE_CHARS_MAX],
    }


def valid_reason(reason: str) -> str:
    """The reason in the alphabet of metav1.Condition: other characters go, and it starts and ends as required.

    Reasons copied from other controllers' objects need this, or the server would refuse our whole status.
    """
    kept = NOT_IN_A_REASON.sub("", reason)[:REASON_CHARS_MAX].rstrip(",:").lstrip("0123456789_,:")
    return kept or "Unknown"


def status_patch(prior: Json, wanted: Json) -> Json:
    """The JSON merge patch (RFC 7386) that turns `prior` into `wanted`; empty when they are equal."""
    patch: Json = {key: None for key in prior if key not in wanted}
    for key, value in wanted.items():
        old = prior.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if below := status_patch(old, value):
                patch[key] = below
        elif value != old:
            patch[key] = value
    return patch
