"""Verdicts → the causal chain from symptom to root cause, deepest first; in words for status, Event and terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

from kaito.api.meta import Json, ObjectRef
from kaito.clock import parse_rfc3339, rfc3339
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, is_open, is_symptom, severity

BLOCKERS_MAX = 8
WHEN_WIDTH = len("+23h59m")
EVENT_CHARS_MAX = 1_024  # the API server refuses longer notes of Events

Cause: TypeAlias = Waiting | Failed


@dataclass(frozen=True, slots=True)
class Explanation:
    """`causes`: deepest first. `symptoms`: what waits for them. `passed`: the stages that are behind, as they came.

    `created`: when the root came to be. `parts`: of other roots, such as the replicas of an InferenceSet.
    """

    root: ObjectRef
    state: str
    created: datetime | None = None
    causes: tuple[Cause, ...] = ()
    symptoms: tuple[Cause, ...] = ()
    passed: tuple[Ready, ...] = ()
    parts: tuple[Explanation, ...] = ()


def explain(
    root: ObjectRef,
    state: str,
    verdicts: Sequence[Verdict],
    *,
    created: datetime | None = None,
    recorded: Sequence[Json] = (),
) -> Explanation:
    """Sorts the verdicts into causes, symptoms and passed stages. `recorded`: `status.timeline[]`, for their times."""
    closed = [verdict for verdict in verdicts if not isinstance(verdict, Ready)]
    chosen = causes(verdicts)
    rest = tuple(verdict for verdict in closed if verdict not in chosen)
    times = {stage.get("stage"): str(stage.get("at") or "") for stage in recorded}
    passed = [_timed(verdict, times.get(verdict.gate)) for verdict in verdicts if isinstance(verdict, Ready)]
    return Explanation(root, state, created, chosen, rest, tuple(in_time(passed)))


def _timed(stage: Ready, recorded: str | None) -> Ready:
    """The time in the status stands: what the cluster says moves when, say, a pod is made anew."""
    return replace(stage, since=parse_rfc3339(recorded)) if recorded else stage


def in_time(stages: Sequence[Ready]) -> list[Ready]:
    """By time; a stage whose time nobody knows stays behind the one that it follows."""
    found: list[tuple[datetime, Ready]] = []
    last = datetime.min.replace(tzinfo=UTC)
    for stage in stages:
        last = stage.since or last
        found.append((last, stage))
    return [stage for _, stage in sorted(found, key=lambda pair: pair[0])]


def causes(verdicts: Sequence[Verdict]) -> tuple[Cause, ...]:
    """The verdicts that name a cause, deepest first: failures, then waits, then what is tolerated; each in gate order.

    A gate that waits for another gate's object is a symptom, and speaks only where no other gate does.
    """
    closed = [verdict for verdict in verdicts if not isinstance(verdict, Ready)]
    own = [verdict for verdict in closed if not is_symptom(verdict)]
    if not any(not is_open(verdict) for verdict in own):
        own += [verdict for verdict in closed if is_symptom(verdict)][:1]
    return tuple(sorted(own, key=severity))


def blockers(verdicts: Sequence[Verdict], prior: Sequence[Json], now: datetime) -> list[Json]:
    """`status.blockers[]`: the causes as data. `prior` is the list as last written.

    A `since` that nobody knows is the one that was written for this gate and culprit before, else now.
    """
    written = {(item.get("gate"), item.get("culprit")): item.get("since") for item in prior}
    return [
        {
            "gate": cause.gate,
            "reason": cause.reason,
            "message": cause.message,
            "culprit": str(cause.culprit),
            "since": _since(cause, written.get((cause.gate, str(cause.culprit))), now),
            "nextStep": cause.next_step,
        }
        for cause in causes(verdicts)[:BLOCKERS_MAX]
    ]


def _since(cause: Cause, written: str | None, now: datetime) -> str:
    return rfc3339(cause.since) if cause.since else written or rfc3339(now)


def headline(cause: Cause) -> str:
    """One line for a condition or an Event: what, where, what to do. It holds no age: it must not change with time."""
    words = f"{cause.message} ({cause.culprit})"
    return (f"{words}; next: {cause.next_step}" if cause.next_step else words)[:EVENT_CHARS_MAX]


def render(explanation: Explanation, now: datetime) -> str:
    """The chain for a terminal, with ages."""
    return "\n".join(_lines(explanation, now))


def _lines(explanation: Explanation, now: datetime) -> Iterator[str]:
    yield f"{explanation.root} is {explanation.state}{_age(_settled(explanation), now)}"
    for index, cause in enumerate(explanation.causes):
        mark = "failed" if isinstance(cause, Failed) else "waiting"
        lead = "because" if index == 0 else "and"
        yield f"  {lead} {cause.gate} {mark} ({cause.reason}){_age(cause.since, now)}"
        yield f"      {cause.message}"
        yield f"      object: {cause.culprit}"
        if cause.next_step:
            yield f"      next:   {cause.next_step}"
    for part in explanation.parts:
        yield from (f"    {line}" for line in _lines(part if part.causes else replace(part, passed=()), now))
    if explanation.symptoms:
        yield "  so these wait: " + ", ".join(symptom.gate for symptom in explanation.symptoms)
    if explanation.passed:
        created = explanation.created
        yield f"  passed, counted from its creation at {created:%Y-%m-%d %H:%M:%S} UTC:" if created else "  passed:"
        yield from (
            f"    {_when(stage.since, created, now)}{stage.gate}: {stage.message}" for stage in explanation.passed
        )


def _settled(explanation: Explanation) -> datetime | None:
    """Since when nothing is waited for; None where something is."""
    times = [stage.since for stage in explanation.passed if stage.since]
    return max(times) if times and not (explanation.causes or explanation.symptoms) else None


def _when(since: datetime | None, created: datetime | None, now: datetime) -> str:
    """How long after the creation a stage was passed: nodes that users bring were ready before it."""
    if since is None:
        words = ""
    elif created is None:
        words = f"{age(since, now)} ago"
    else:
        words = "before" if since < created else f"+{age(created, since)}"
    return f"{words:<{WHEN_WIDTH}} "


def _age(since: datetime | None, now: datetime) -> str:
    return f" since {age(since, now)}" if since else ""


def age(since: datetime, now: datetime) -> str:
    """`12s`, `4m10s`, `3h5m`, `2d4h`: two units, as kubectl prints ages. The future counts as 0."""
    total_s = max(0, int((now - since).total_seconds()))
    days, rest = divmod(total_s, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if minutes:
        return f"{minutes}m{seconds}s" if seconds else f"{minutes}m"
    return f"{seconds}s"
