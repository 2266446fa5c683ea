"""What a readiness gate answers: open, not yet, or never without help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from kaito.api.meta import ObjectRef

EARLIER_STAGE = "AwaitingEarlierStage"  # the reason of a gate that waits for what another gate judges
EARLIER_STAGE_STEP = "none here: the stage before it comes first"
LOOKING_UP = "none: the operator is looking it up"


@dataclass(frozen=True, slots=True)
class Ready:
    """The gate is open. `since` is when the cluster says it opened, None where the cluster does not say."""

    gate: str
    message: str
    culprit: ObjectRef | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet, and nothing is known to be wrong. `recheck_s`: seconds after which time alone changes the verdict.

    `is_symptom`: it waits for what another gate judges, so that one names the cause. `is_tolerated`: the gate was open
    and counts as open until `recheck_s` has passed (a restarting device plugin zeroes a node's GPUs for a moment).
    """

    gate: str
    reason: str
    message: str
    culprit: ObjectRef
    next_step: str
    since: datetime | None = None
    recheck_s: float | None = None
    is_symptom: bool = False
    is_tolerated: bool = False


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


def is_open(verdict: Verdict) -> bool:
    """Whether what lies behind the gate may go ahead."""
    return isinstance(verdict, Ready) or (isinstance(verdict, Waiting) and verdict.is_tolerated)


def is_symptom(verdict: Verdict) -> bool:
    return isinstance(verdict, Waiting) and verdict.is_symptom


AnyVerdict = TypeVar("AnyVerdict", Ready, Waiting, Failed, Waiting | Failed, Ready | Waiting | Failed)


def worst(verdicts: Sequence[AnyVerdict]) -> AnyVerdict:
    """The verdict that explains most: the first Failed, else the first Waiting of its own cause, else the first."""
    return min(verdicts, key=severity)


def severity(verdict: Verdict) -> int:
    """0 is worst. Sorting by it is stable: equal verdicts stay in the order of the gates."""
    match verdict:
        case Failed():
            return 0
        case Waiting():
            return 3 if verdict.is_tolerated else 2 if verdict.is_symptom else 1
        case Ready():
            return 4


def at_least(gate: str, needed: int, verdicts: Sequence[Verdict], *, what: str, root: ObjectRef) -> Verdict:
    """One verdict over `needed` objects from a verdict on each that exists.

    Open when `needed` of them are open; its `since` is when the last of those opened. Otherwise the worst one speaks,
    with the count in front where there are several. Where nothing is wrong with what exists, the gate waits for the
    rest.
    """
    if needed == 1 and len(verdicts) == 1 and isinstance(verdicts[0], Ready):  # nearly always
        return verdicts[0]
    opened = [verdict for verdict in verdicts if is_open(verdict)]
    if len(opened) >= needed:
        tolerated = [verdict for verdict in opened if not isinstance(verdict, Ready)]
        if len(opened) - len(tolerated) >= needed:
            return _all_ready(gate, needed, [verdict for verdict in opened if isinstance(verdict, Ready)], what)
        return replace(tolerated[0], recheck_s=_soonest_s(tolerated))
    closed = [verdict for verdict in verdicts if not isinstance(verdict, Ready)]
    if all(is_open(verdict) for verdict in closed):
        message = f"{len(opened)} of {needed} {what}"
        recheck_s = _soonest_s(closed)
        return Waiting(gate, EARLIER_STAGE, message, root, EARLIER_STAGE_STEP, recheck_s=recheck_s, is_symptom=True)
    return _counted(worst(closed), len(opened), needed, what, _soonest_s(closed))


def _all_ready(gate: str, needed: int, opened: Sequence[Ready], what: str) -> Ready:
    if needed == 1:
        return opened[0]
    since = sorted(verdict.since for verdict in opened if verdict.since)[:needed]
    return Ready(gate, f"{needed} of {needed} {what}", None, since[-1] if since else None)


def _counted(
    verdict: Waiting | Failed, opened: int, needed: int, what: str, recheck_s: float | None
) -> Waiting | Failed:
    """The verdict that speaks for all. Time may change any of them, so the soonest recheck is theirs together."""
    words = f"{opened} of {needed} {what}; {verdict.culprit.name}: {verdict.message}"
    return replace(verdict, message=verdict.message if needed == 1 else words, recheck_s=recheck_s)


def _soonest_s(verdicts: Sequence[Waiting | Failed]) -> float | None:
    ahead = [verdict.recheck_s for verdict in verdicts if verdict.recheck_s is not None and verdict.recheck_s > 0]
    return min(ahead) if ahead else None
