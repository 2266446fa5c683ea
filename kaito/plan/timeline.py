"""`status.timeline[]`: every stage that is passed, and when. What the cluster does not time is timed once, by us."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.plan.verdict import Ready, Verdict, is_open


def timeline(verdicts: Sequence[Verdict], prior: Sequence[Json], now: datetime) -> list[Json]:
    """The open gates in order. `prior` is the timeline as last written: a time once recorded there does not move.

    A gate that has closed again leaves the timeline and comes back with its new time.
    """
    recorded = {stage.get("stage"): stage.get("at") for stage in prior}
    return [
        {
            "stage": verdict.gate,
            "at": recorded.get(verdict.gate) or rfc3339(_since(verdict) or now),
            "message": verdict.message,
        }
        for verdict in verdicts
        if is_open(verdict)
    ]


def _since(verdict: Verdict) -> datetime | None:
    return verdict.since if isinstance(verdict, Ready) else None
