"""Verdicts → the status of a RAGEngine: upstream's types, each of them both ways. A pure function.

Upstream says success with one type (ServiceReady) and failure with another (RAGEngineServiceReady), so that neither
can be waited for; here it is ServiceReady both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kaito.api.meta import Json
from kaito.plan.conditions import WantedCondition, merge_conditions
from kaito.plan.explain import blockers, causes, headline
from kaito.plan.snapshot import Snapshot, is_node_ready
from kaito.plan.status import (
    CONDITION_OF_GATE,
    INFERENCE_READY,
    NODE_CLAIM_READY,
    RESOURCE_READY,
    closed_of,
    state_after,
    with_given_up,
)
from kaito.plan.timeline import noted_stages, timeline
from kaito.plan.verdict import EARLIER_STAGE, Failed, Ready, Verdict

SERVICE_READY = "ServiceReady"
SUCCEEDED = "RAGEngineSucceeded"
OBSOLETE = frozenset({"RAGEngineDeleting", "RAGEngineServiceReady"})  # the second: an upstream KAITO's


def is_machine_side(verdict: Verdict) -> bool:
    """Whether the gate is one of machines: neither of the wish nor of the workload."""
    return CONDITION_OF_GATE[verdict.gate] not in (RESOURCE_READY, INFERENCE_READY)


def ragengine_status(s: Snapshot, verdicts: Sequence[Verdict], *, has_machine: bool, generation: int) -> Json:
    """The whole status that the RAGEngine should have now."""
    wanted = tuple(_conditions(s, verdicts, has_machine))
    dropped = OBSOLETE if has_machine and not s.is_byo else OBSOLETE | {NODE_CLAIM_READY}
    status = {
        **s.prior,
        "state": state_after(wanted[-1].is_true, s.prior.get("state")),
        "workerNodes": [node.metadata.name for node in s.nodes if is_node_ready(node)],
        "blockers": blockers(verdicts, s.prior.get("blockers") or (), s.now),
        "timeline": timeline(verdicts, s.prior.get("timeline") or (), s.now, noted_stages(s)),
        "conditions": merge_conditions(
            s.prior.get("conditions") or (), wanted, generation=generation, now=s.now, dropped=dropped
        ),
    }
    return with_given_up(s, status)


def _conditions(s: Snapshot, verdicts: Sequence[Verdict], has_machine: bool) -> Iterator[WantedCondition]:
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(CONDITION_OF_GATE[verdict.gate], []).append(verdict)
    if has_machine and not s.is_byo:
        yield _judged(NODE_CLAIM_READY, groups.get(NODE_CLAIM_READY, []), "NodeClaimsReady", "NodeClaimNotReady")
    machine = [verdict for verdict in verdicts if CONDITION_OF_GATE[verdict.gate] != INFERENCE_READY]
    resource = _judged(RESOURCE_READY, machine, "ragengineResourceStatusSuccess", "ragengineResourceStatusFailed")
    yield resource
    service = _judged(
        SERVICE_READY, groups.get(INFERENCE_READY, []), "RAGEngineServiceSuccess", "RAGEngineServiceStatusFailed"
    )
    if not resource.is_true and service.is_true:
        service = WantedCondition(SERVICE_READY, False, "RAGEngineServiceStatusFailed", resource.message)
    yield service
    if resource.is_true and service.is_true:
        yield WantedCondition(SUCCEEDED, True, "ragengineSucceeded", "the retrieval service answers")
        return
    deepest = causes(verdicts)[0]
    reason = "ragengineFailed" if isinstance(deepest, Failed) else "ragenginePending"
    yield WantedCondition(SUCCEEDED, False, reason, headline(deepest))


def _judged(type_: str, verdicts: Sequence[Verdict], good: str, bad: str) -> WantedCondition:
    closed = closed_of(verdicts)
    if closed is None:
        return WantedCondition(type_, True, good, "all that it needs is there")
    reason = bad if isinstance(closed, Ready) or closed.reason == EARLIER_STAGE else closed.reason
    return WantedCondition(type_, False, reason, closed.message)


def invalid_status(prior: Json, verdict: Failed, *, generation: int, now: datetime) -> Json:
    """The status of a RAGEngine that does not fit its model: what was known stays, and what is wrong is said."""
    wanted = [WantedCondition(SUCCEEDED, False, "ragengineFailed", headline(verdict))]
    return prior | {
        "state": state_after(False, prior.get("state")),
        "blockers": blockers([verdict], prior.get("blockers") or (), now),
        "conditions": merge_conditions(prior.get("conditions") or (), wanted, generation=generation, now=now),
    }
