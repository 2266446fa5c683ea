"""Repairs of children, rate-capped: where somebody else keeps changing one, we stop and say so instead of fighting.

Repairs are remembered in the graph (`Remember`), not in the cluster: a restart of the operator forgets them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kaito.api.core import SERVICE
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.api.names import DESIRED_HASH_ANNOTATION, headless_service_name
from kaito.api.workloads import POD_DISRUPTION_BUDGET, Child
from kaito.clock import rfc3339
from kaito.plan.actions import Action, Apply, Create, Delete, Remember
from kaito.plan.diff import desired_hash
from kaito.plan.snapshot import Snapshot, parse_time
from kaito.plan.verdict import Waiting

REPAIRS_MAX = 5
WINDOW_S = 600.0


def capped(s: Snapshot, action: Create | Apply | Delete, observed: Child | None) -> Iterator[Action]:
    """The action, and a note of it when it is a repair; nothing when there have been too many of late."""
    if isinstance(action, Delete) or not _is_repair(s, action, observed):
        yield action
        return
    recent = _recent(s, action.ref)
    if len(recent) >= REPAIRS_MAX:
        return
    yield action
    times = [*recent, s.now]
    yield Remember(s.ref, _key(action.ref), ",".join(rfc3339(moment) for moment in times))


def contested(s: Snapshot, gate: str) -> Waiting | None:
    """A child that is left as somebody else made it, until repairs are allowed again. The gate stays open meanwhile."""
    for ref in _children(s):
        recent = _recent(s, ref)
        if len(recent) >= REPAIRS_MAX:
            left_s = s.left_s(recent[0], WINDOW_S)
            message = f"somebody else keeps changing {ref}: {len(recent)} repairs within {WINDOW_S:g} s"
            step = f"find who writes to it: kubectl get {ref.kind.lower()} {ref.name} -n {ref.namespace} -o yaml"
            words = f"{step} --show-managed-fields"
            return Waiting(gate, "ChildContested", message, ref, words, recent[-1], left_s, is_tolerated=True)
    return None


def _is_repair(s: Snapshot, action: Create | Apply, observed: Child | None) -> bool:
    """Whether it puts back what was there, rather than carry out a change of what is wanted."""
    if observed is None:
        return s.passed_at("WorkloadCreated") is not None
    seen = observed.metadata.annotation(DESIRED_HASH_ANNOTATION)
    return seen is None or seen == desired_hash(action.body)


def _recent(s: Snapshot, ref: ObjectRef) -> list[datetime]:
    answer = s.view.answer(s.ref, _key(ref))
    times = [parse_time(text) for text in answer.text.split(",")] if answer else []
    return [moment for moment in times if moment and s.left_s(moment, WINDOW_S) > 0]


def _key(ref: ObjectRef) -> str:
    return f"repairs/{ref.kind}/{ref.name}"


def _children(s: Snapshot) -> tuple[ObjectRef, ...]:
    kinds: tuple[tuple[ResourceKind, str], ...] = (
        (SERVICE, s.ref.name),
        (SERVICE, headless_service_name(s.ref.name)),
        (POD_DISRUPTION_BUDGET, s.ref.name),
        (s.work.kind, s.ref.name),
    )
    return tuple(kind.ref(s.ref.namespace, name) for kind, name in kinds)
