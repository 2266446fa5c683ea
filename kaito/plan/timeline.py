"""`status.timeline[]`: every stage that is passed, and when. What the cluster does not time is timed once, by us.

A status that tells of progress is written a little later, and the time of a stage must not be the time of that write:
until it is written, the time is noted in the graph (`Remember`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from kaito.api.meta import Json
from kaito.clock import rfc3339
from kaito.plan.actions import Action, PatchStatus, Remember
from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import Ready, Verdict, is_open

NOTED_KEY = "stages"
NOTHING: Mapping[str, str] = {}


def timeline(
    verdicts: Sequence[Verdict], prior: Sequence[Json], now: datetime, noted: Mapping[str, str] = NOTHING
) -> list[Json]:
    """The open gates in order. `prior` is the timeline as last written: a time once recorded there does not move.

    A gate that has closed again leaves the timeline and comes back with its new time. `noted`: stage → time, for those
    that have not been written yet.
    """
    recorded = {stage.get("stage"): stage.get("at") for stage in prior}
    return [
        {
            "stage": verdict.gate,
            "at": recorded.get(verdict.gate) or _time(verdict, noted, now),
            "message": verdict.message,
        }
        for verdict in verdicts
        if is_open(verdict)
    ]


def noted_stages(s: Snapshot) -> Mapping[str, str]:
    """The times of stages that no object carries and no status yet."""
    answer = s.view.answer(s.ref, NOTED_KEY)
    return msgspec.json.decode(answer.text, type=dict[str, str]) if answer else NOTHING


def note_stages(s: Snapshot, verdicts: Sequence[Verdict], told: Sequence[Action]) -> Iterator[Remember]:
    """Notes when such stages were first seen to be passed, where what is `told` of them may wait.

    Forgets those that have closed again.
    """
    noted = noted_stages(s)
    is_waiting = any(isinstance(action, PatchStatus) and action.is_progress for action in told)
    if not noted and not is_waiting:
        return
    passed = [verdict.gate for verdict in verdicts if is_open(verdict) and _since(verdict) is None]
    written = {stage.get("stage") for stage in s.prior.get("timeline") or ()}
    unwritten = [gate for gate in passed if gate not in written]
    if (is_waiting and not noted.keys() >= set(unwritten)) or not noted.keys() <= set(passed):
        times = {gate: noted.get(gate) or rfc3339(s.now) for gate in unwritten}
        yield Remember(s.ref, NOTED_KEY, msgspec.json.encode(times).decode())


def _time(verdict: Verdict, noted: Mapping[str, str], now: datetime) -> str:
    since = _since(verdict)
    return rfc3339(since) if since else noted.get(verdict.gate) or rfc3339(now)


def _since(verdict: Verdict) -> datetime | None:
    return verdict.since if isinstance(verdict, Ready) else None
