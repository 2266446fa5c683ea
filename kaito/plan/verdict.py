"""What a readiness gate answers: open, not yet, or never without help."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from kaito.api.meta import ObjectRef


@dataclass(frozen=True, slots=True)
class Ready:
    """The gate is open. `since` is when the cluster says it opened, None where the cluster does not say."""

    gate: str
    message: str
    culprit: ObjectRef | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet, and nothing is known to be wrong. `recheck_s`: seconds after which time alone changes the verdict."""

    gate: str
    reason: str
    message: str
    culprit: ObjectRef
    next_step: str
    since: datetime | None = None
    recheck_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not open by itself: somebody must act, as `next_step` says."""

    gate: str
    reason: str
    message: str
    culprit: ObjectRef
    next_step: str
    since: datetime | None = None
    recheck_s: float | None = None


Verdict: TypeAlias = Ready | Waiting | Failed
