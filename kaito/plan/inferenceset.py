"""plan_inference_set: keeps as many Workspaces as replicas are wanted, and carries changes of the template to them.

Names follow from the slot and from what is replaced, so that a stale view cannot make a replica twice. A change that a
Workspace can take is patched into it; one that it cannot (another model or instance type) replaces it. Either goes one
replica at a time, and only while all others answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaito.api.inferenceset import INFERENCE_SET, InferenceSet
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import CREATED_BY_INFERENCE_SET_LABEL
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Action, Create, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.auto_upgrade import REASON as UPGRADE_REASON
from kaito.plan.auto_upgrade import Upgrade, upgrade, upgrade_of, upgrade_status
from kaito.plan.conditions import WantedCondition, merge_conditions, status_patch
from kaito.plan.desired.replica import replica
from kaito.plan.explain import blockers
from kaito.plan.replicas import Replica, free_names, outdated_parts, replicas
from kaito.plan.report import leaving, unsynced
from kaito.plan.roots import RootMeta, root_meta
from kaito.plan.validate.inferenceset import template_errors
from kaito.plan.validate.violation import Violation
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView, InvalidObject

GATE = "ReplicasReady"
READY, DELETING, MEASURED = "InferenceSetReady", "InferenceSetDeleting", "BenchmarkCompleted"
GUARD_REASON = "its replicas must be released at the end"
METRIC, TOTAL_METRIC = "peakTokensPerMinute", "aggregatedPeakTokensPerMinute"


def plan_inference_set(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the InferenceSet needs now; empty when it has converged or is gone."""
    found = view.root(ref)
    if found is None:
        return Plan(ref)
    if wait := unsynced(view, ref, (WORKSPACE,)):
        return Plan(ref, (), (wait,))
    root = root_meta(found, INFERENCE_SET)
    if root.deleting_since:
        return _plan_deletion(view, root, now)
    if wait := leaving(view, ref, (INFERENCE_SET, WORKSPACE)):
        return Plan(ref, (), (wait,))
    if root.finalizer not in root.finalizers:
        patch = {"metadata": {"finalizers": [*root.finalizers, root.finalizer]}}
        return Plan(ref, (PatchRoot(root.kind, ref, patch, root.uid, root.resource_version, GUARD_REASON),))
    if isinstance(found, InvalidObject):
        return _plan_invalid(root, found, now)
    return _plan_valid(view, root, found, now, settings)


def judge_inference_set(
    view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings
) -> tuple[Verdict, ...]:
    """What the InferenceSet waits for, also for one that no operator has taken up yet."""
    plan = plan_inference_set(view, ref, now, settings)
    if not any(isinstance(action, PatchRoot) and action.reason == GUARD_REASON for action in plan.actions):
        return plan.verdicts
    message = "no operator has taken up this InferenceSet: it does not carry our finalizer"
    return (Waiting("Reconciled", "NotReconciled", message, ref, "run the operator: kaito operator", now),)


@dataclass(frozen=True, slots=True)
class _State:
    """The replicas against what is wanted. `wanted` is `replicas`, less what the node limit forbids; `most` is one more
    while an upgrade replaces one.
    """

    live: tuple[Replica, ...]
    wanted: int
    body: Json  # what a replica should be, but for its name
    upgrade: Upgrade | None
    most: int

    @property
    def ready(self) -> int:
        return sum(each.is_ready for each in self.live)


def _plan_valid(view: ClusterView, root: RootMeta, iset: InferenceSet, now: datetime, settings: PlanSettings) -> Plan:
    live = tuple(each for each in replicas(view, root) if not each.is_leaving)
    limit = _limit(iset, live)
    found = upgrade_of(view, iset, live, settings, now)
    wanted = min(iset.spec.replicas, limit)
    body = replica(root.ref, root.uid, root.labels, root.annotations, iset)
    state = _State(live, wanted, body, found, found.surge(live, wanted, limit) if found else wanted)
    wrong = template_errors(iset, settings) if len(live) < state.wanted else ()
    verdicts = (*_misfits(root, wrong), *_judge(root, iset, state))
    grown = () if wrong else _scale(view, root, state)
    rolled = tuple(_roll(state))
    upgraded = tuple(upgrade(found, live, wanted, now)) if found and not rolled else ()
    actions = (*_report(root, state, verdicts, now), *grown, *rolled, *upgraded)
    return Plan(root.ref, actions, verdicts, found.opens_in_s if found and found.drifted else None)


def _limit(iset: InferenceSet, live: Sequence[Replica]) -> int:
    """How many replicas the limit of nodes allows, each having as many nodes as the largest that is known."""
    if iset.spec.node_count_limit is None:
        return iset.spec.replicas + 1  # an upgrade may have one more for a while
    return iset.spec.node_count_limit // max([1, *(each.nodes for each in live)])


def _scale(view: ClusterView, root: RootMeta, state: _State) -> Iterator[Action]:
    missing = state.most - len(state.live)
    why = f"{len(state.live)} of {state.wanted} replicas exist" if len(state.live) < state.wanted else UPGRADE_REASON
    for name in free_names(view, root, max(0, missing)):
        body = state.body | {"metadata": state.body["metadata"] | {"name": name}}
        yield Create(WORKSPACE, body, why)
    # The least useful first: those that do not answer, then those of an older template, then the youngest.
    surplus = sorted(state.live, key=lambda each: (each.is_ready, not outdated_parts(each, state.body), -each.age_rank))
    for each in surplus[: max(0, -missing)]:
        yield Delete(WORKSPACE, each.ref, each.uid, f"{state.wanted} replicas are wanted, {len(state.live)} exist")


def _roll(state: _State) -> Iterator[Action]:
    """The next replica that is not as the template says: patched, or deleted so that another is made in its place."""
    if len(state.live) != state.wanted:
        return
    for each in state.live:
        parts = outdated_parts(each, state.body)
        if parts and all(other.is_ready for other in state.live if other is not each):
            if each.can_take(parts):
                why = f"the template has changed: {', '.join(sorted(parts))}"
                yield PatchRoot(WORKSPACE, each.ref, parts, each.uid, each.resource_version, why)
            else:
                yield Delete(
                    WORKSPACE, each.ref, each.uid, "the template has changed in what a Workspace cannot change"
                )
            return


def _misfits(root: RootMeta, wrong: Sequence[Violation]) -> Iterator[Failed]:
    """No replica is made that would be refused; those that there are stay."""
    if wrong:
        step = f"correct the named fields: kubectl edit inferenceset {root.ref.name} -n {root.ref.namespace}"
        yield Failed(GATE, "InvalidInferenceSet", "; ".join(map(str, wrong)), root.ref, step)


def _judge(root: RootMeta, iset: InferenceSet, state: _State) -> Iterator[Verdict]:
    if state.wanted < iset.spec.replicas:
        message = (
            f"spec.nodeCountLimit: {iset.spec.node_count_limit} nodes are enough for {state.wanted} of "
            f"{iset.spec.replicas} replicas"
        )
        yield Failed(GATE, "NodeCountLimit", message, root.ref, "raise the limit, or ask for fewer replicas")
    if len(state.live) < state.wanted:
        message = f"{len(state.live)} of {state.wanted} replicas exist"
        yield Waiting(GATE, "ReplicasMissing", message, root.ref, "none: the operator is making the rest")
    for each in state.live:
        if not each.is_ready:
            message, step = each.words
            yield Waiting(GATE, "ReplicaNotReady", f"{each.ref.name}: {message}", each.ref, step)
    if state.ready >= iset.spec.replicas:
        yield Ready(GATE, f"{state.ready} of {state.wanted} replicas answer", root.ref)


def _report(root: RootMeta, state: _State, verdicts: Sequence[Verdict], now: datetime) -> Iterator[Action]:
    is_ready = state.ready >= state.wanted and not any(isinstance(verdict, Failed) for verdict in verdicts)
    words = f"{state.ready}/{state.wanted} replicas are ready"
    wanted = [WantedCondition(READY, is_ready, "inferencesetReady" if is_ready else "inferencesetNotReady", words)]
    total = _total(state)
    if total:
        wanted.append(WantedCondition(MEASURED, True, "BenchmarkCompleted", f"{total} tokens/min together"))
    status: Json = {
        **root.status,
        "replicas": len(state.live),
        "readyReplicas": state.ready,
        "selector": f"{CREATED_BY_INFERENCE_SET_LABEL}={root.ref.name}",
        "blockers": blockers(verdicts, root.status.get("blockers") or (), now),
        "conditions": merge_conditions(
            root.status.get("conditions") or (),
            wanted,
            generation=root.generation,
            now=now,
            dropped=frozenset({DELETING} | (set() if total else {MEASURED})),
        ),
    }
    if state.upgrade is not None:
        status["autoUpgrade"] = upgrade_status(state.upgrade, root.status.get("autoUpgrade") or {}, now)
    if total:
        metric = {"description": "sum over the ready replicas", "value": total, "unit": "tokens/min"}
        status["performance"] = {"metrics": {TOTAL_METRIC: metric}}
    if patch := status_patch(root.status, status):
        why = "what was observed has changed"
        yield PatchStatus(root.kind, root.ref, patch, root.uid, root.resource_version, why)


def _total(state: _State) -> str:
    rates = [rate for each in state.live if each.is_ready and (rate := each.tokens_per_minute(METRIC))]
    return f"{sum(rates):.2f}" if rates else ""


def _plan_invalid(root: RootMeta, found: InvalidObject, now: datetime) -> Plan:
    """What runs keeps running: an object that we cannot read says nothing about what should go."""
    words = "; ".join(found.errors) or "it does not fit the schema"
    verdict = Failed(GATE, "InvalidInferenceSet", words, root.ref, f"kubectl edit inferenceset {root.ref.name}")
    return Plan(
        root.ref, tuple(_say(root, WantedCondition(READY, False, "inferencesetFailed", words), now)), (verdict,)
    )


def _plan_deletion(view: ClusterView, root: RootMeta, now: datetime) -> Plan:
    """The replicas go first, each with its machines; then our finalizer."""
    if root.finalizer not in root.finalizers:
        return Plan(root.ref)
    held = replicas(view, root)
    if not held:
        patch = {"metadata": {"finalizers": [name for name in root.finalizers if name != root.finalizer]}}
        why = "its replicas are gone"
        return Plan(root.ref, (PatchRoot(root.kind, root.ref, patch, root.uid, root.resource_version, why),))
    deletes = [
        Delete(WORKSPACE, each.ref, each.uid, "its InferenceSet is being deleted")
        for each in held
        if not each.is_leaving
    ]
    names = ", ".join(each.ref.name for each in held)
    waits = tuple(
        Waiting("Released", "ReplicaTerminating", f"Workspace {each.ref.name} has to go first", each.ref,
                f"kaito explain workspace/{each.ref.name} -n {each.ref.namespace}")
        for each in held
    )  # fmt: skip
    said = _say(root, WantedCondition(DELETING, True, "inferencesetDeleted", f"waits for {names}"), now)
    return Plan(root.ref, (*said, *deletes), waits)


def _say(root: RootMeta, condition: WantedCondition, now: datetime) -> Iterator[Action]:
    existing = root.status.get("conditions") or ()
    conditions = merge_conditions(existing, [condition], generation=root.generation, now=now)
    if patch := status_patch(root.status, root.status | {"conditions": conditions}):
        yield PatchStatus(root.kind, root.ref, patch, root.uid, root.resource_version, condition.message)
