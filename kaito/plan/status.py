"""Verdicts → `.status`: conditions in upstream's types and reasons, state, blockers, timeline. A pure function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from datetime import datetime

from kaito.api.meta import Json
from kaito.plan.benchmark import CONDITION as MEASURED
from kaito.plan.benchmark import Measurement
from kaito.plan.conditions import WantedCondition, merge_conditions
from kaito.plan.explain import blockers, causes, headline
from kaito.plan.gates import GATES
from kaito.plan.provision.given_up import STATUS_FIELD, given_up_status
from kaito.plan.snapshot import Snapshot, is_node_ready
from kaito.plan.timeline import noted_stages, timeline
from kaito.plan.verdict import EARLIER_STAGE, Failed, Ready, Verdict, Waiting, is_open, worst

NODE_CLAIM_READY = "NodeClaimReady"
NODES_READY = "NodesReady"
GPU_READY = "GPUReady"
RESOURCE_READY = "ResourceReady"
INFERENCE_READY = "InferenceReady"
SUCCEEDED = "WorkspaceSucceeded"
DELETING = "WorkspaceDeleting"
SPEC_VALID = "SpecValid"  # there only while it is False
UNTOUCHED = "it was let in before, and goes on as it is"

NOTHING_MEASURED = Measurement()
# The reasons of InferenceReady=False that upstream documents; anything else is WorkspaceInferenceStatusPending.
INFERENCE_REASONS = frozenset(
    {
        "ContainerOOMKilled",
        "ImagePullError",
        "ContainerStartError",
        "ContainerCrashLoopBackOff",
        "NodeDiskPressure",
        "NodeMemoryPressure",
        "PodEvicted",
        "Unschedulable",
    }
)
WORKLOAD_CONDITIONS = frozenset({INFERENCE_READY, SUCCEEDED})  # of gates behind the nodes
CONDITION_OF_GATE = {gate.name: gate.condition for gate in GATES}


def workspace_status(
    snapshot: Snapshot, verdicts: Sequence[Verdict], *, generation: int, measured: Measurement = NOTHING_MEASURED
) -> Json:
    """The whole status that the Workspace should have now."""
    s = snapshot
    wanted = (*_conditions(s, verdicts), *((measured.condition,) if measured.condition else ()))
    state = state_after(next(item.is_true for item in wanted if item.type == SUCCEEDED), s.prior.get("state"))
    dropped = set() if measured.condition else {MEASURED}
    status = status_with(s, verdicts, wanted, state=state, generation=generation, dropped=dropped)
    return status | ({"performance": measured.performance} if measured.performance else {})


def status_with(
    s: Snapshot,
    verdicts: Sequence[Verdict],
    wanted: Sequence[WantedCondition],
    *,
    state: str,
    generation: int,
    dropped: Set[str] = frozenset(),
) -> Json:
    """The status with this state and these conditions; others stay as they are, but those that are dropped."""
    gone = ({NODE_CLAIM_READY} if s.is_byo else set()) | (set() if s.broken else {SPEC_VALID})
    standing = WantedCondition(SPEC_VALID, False, "RuleBroken", "; ".join((*s.broken, UNTOUCHED)))
    status: Json = {
        **s.prior,
        "state": state,
        "workerNodes": [node.metadata.name for node in s.nodes if is_node_ready(node)],
        "blockers": blockers(verdicts, s.prior.get("blockers") or (), s.now),
        "timeline": timeline(verdicts, s.prior.get("timeline") or (), s.now, noted_stages(s)),
        "conditions": merge_conditions(
            s.prior.get("conditions") or (),
            (*wanted, standing) if s.broken else wanted,
            generation=generation,
            now=s.now,
            dropped=frozenset({DELETING, *dropped, *gone}),
        ),
    }
    decided = {
        "targetNodeCount": s.target,
        "instanceType": s.instance_type,
        "contextTokens": s.context_tokens,
        "model": s.hub_model,
    }
    status |= {key: value for key, value in decided.items() if value and s.target}
    return with_given_up(s, status)


def with_given_up(s: Snapshot, status: Json) -> Json:
    """The status with what is known of claims that went without a machine, or without that field."""
    rest = {key: value for key, value in status.items() if key != STATUS_FIELD}
    found = given_up_status(s)
    return rest | {STATUS_FIELD: found} if found else rest


def state_after(is_ready: bool, prior: str | None) -> str:
    """Pending until the first Ready, then Ready or NotReady, never Pending again."""
    if is_ready:
        return "Ready"
    return "NotReady" if prior in ("Ready", "NotReady") else "Pending"


def _conditions(s: Snapshot, verdicts: Sequence[Verdict]) -> Iterator[WantedCondition]:
    machines = tuple(machine_conditions(s, verdicts))
    resource = machines[-1]
    inference = _inference_ready(_groups(verdicts).get(INFERENCE_READY, []), resource)
    yield from (*machines, inference, succeeded(verdicts, resource, inference))


def _groups(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(CONDITION_OF_GATE[verdict.gate], []).append(verdict)
    return groups


def machine_conditions(s: Snapshot, verdicts: Sequence[Verdict]) -> Iterator[WantedCondition]:
    """The conditions of the machines, whatever runs on them; ResourceReady is the last."""
    groups = _groups(verdicts)
    planned = groups.get(RESOURCE_READY, [])
    claims = _node_claim_ready(groups.get(NODE_CLAIM_READY, []))
    gpus = _gpu_ready(groups.get(GPU_READY, []))
    nodes = _nodes_ready(groups.get(NODES_READY, []), gpus)
    resource = _resource_ready(planned, claims if not s.is_byo else None, nodes)
    if not s.is_byo:
        yield claims
    yield from (nodes, gpus, resource)


def closed_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The closed gate that explains most, None when all are open."""
    closed = [verdict for verdict in verdicts if not is_open(verdict)]
    return worst(closed) if closed else None


def _reason(verdict: Verdict, otherwise: str) -> str:
    return otherwise if isinstance(verdict, Ready) or verdict.reason == EARLIER_STAGE else verdict.reason


def _node_claim_ready(verdicts: Sequence[Verdict]) -> WantedCondition:
    closed = closed_of(verdicts)
    if closed is None:
        return WantedCondition(NODE_CLAIM_READY, True, "NodeClaimsReady", "all NodeClaims are ready")
    return WantedCondition(NODE_CLAIM_READY, False, _reason(closed, "NodeClaimNotReady"), closed.message)


def _gpu_ready(verdicts: Sequence[Verdict]) -> WantedCondition:
    closed = closed_of(verdicts)
    if closed is None:
        return WantedCondition(GPU_READY, True, "GPUsAllocatable", "the nodes offer the GPUs that the pods request")
    return WantedCondition(GPU_READY, False, _reason(closed, "NodePluginsNotReady"), closed.message)


def _nodes_ready(verdicts: Sequence[Verdict], gpus: WantedCondition) -> WantedCondition:
    closed = closed_of(verdicts)
    if closed is not None:
        return WantedCondition(NODES_READY, False, "NodeNotReady", closed.message)
    if not gpus.is_true:
        return WantedCondition(NODES_READY, False, "NodePluginsNotReady", gpus.message)
    words = "; ".join(verdict.message for verdict in verdicts if "warning:" in verdict.message)
    return WantedCondition(NODES_READY, True, "NodesReady", words or "all nodes are ready")


def _resource_ready(
    planned: Sequence[Verdict], claims: WantedCondition | None, nodes: WantedCondition
) -> WantedCondition:
    closed = closed_of(planned)
    if closed is not None:
        return WantedCondition(RESOURCE_READY, False, "workspaceResourceStatusNotReady", closed.message)
    for part in (claims, nodes):
        if part is not None and not part.is_true:
            return WantedCondition(RESOURCE_READY, False, part.reason, part.message)
    return WantedCondition(
        RESOURCE_READY, True, "workspaceResourceStatusSuccess", "the nodes are ready for the workload"
    )


def _inference_ready(verdicts: Sequence[Verdict], resource: WantedCondition) -> WantedCondition:
    closed = closed_of(verdicts)
    if closed is not None:
        reason = _reason(closed, "")
        known = reason if reason in INFERENCE_REASONS else "WorkspaceInferenceStatusPending"
        return WantedCondition(INFERENCE_READY, False, known, closed.message)
    if not resource.is_true:
        return WantedCondition(INFERENCE_READY, False, "WorkspaceInferenceStatusPending", resource.message)
    return WantedCondition(INFERENCE_READY, True, "WorkspaceInferenceStatusSuccess", "the model server answers")


def succeeded(verdicts: Sequence[Verdict], resource: WantedCondition, work: WantedCondition) -> WantedCondition:
    """WorkspaceSucceeded: machines and work are as they should be, or the deepest cause why not."""
    if resource.is_true and work.is_true:
        return WantedCondition(SUCCEEDED, True, "workspaceSucceeded", work.message)
    return pending(causes(verdicts)[0])


def pending(deepest: Waiting | Failed) -> WantedCondition:
    reason = "workspaceFailed" if isinstance(deepest, Failed) else "workspacePending"
    return WantedCondition(SUCCEEDED, False, reason, headline(deepest))


def invalid_status(prior: Json, verdict: Failed, *, generation: int, now: datetime) -> Json:
    """The status of a Workspace that does not fit its model: what was known stays, and what is wrong is said."""
    wanted = [WantedCondition(SUCCEEDED, False, "workspaceFailed", headline(verdict))]
    known = {item["type"] for item in prior.get("conditions") or ()}
    if RESOURCE_READY not in known:
        wanted.insert(0, WantedCondition(RESOURCE_READY, False, "workspaceResourceStatusNotReady", verdict.message))
    return prior | {
        "state": state_after(False, prior.get("state")),
        "blockers": blockers([verdict], prior.get("blockers") or (), now),
        "conditions": merge_conditions(prior.get("conditions") or (), wanted, generation=generation, now=now),
    }
