"""The stages of a Workspace for the kopf operator: what it has of one Workspace → stages, conditions, status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
GPU = "nvidia.com/gpu"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
TOLERATED = frozenset({GPU, "sku", "kubernetes.azure.com/scalesetpriority"})
CONDITIONS = {
    "NodeClaimReady": "NodeClaimsReady",
    "NodesReady": "NodesReady",
    "GPUReady": "GPUsAllocatable",
    "ResourceReady": "workspaceResourceStatusSuccess",
    "InferenceReady": "WorkspaceInferenceStatusSuccess",
    "WorkspaceSucceeded": "workspaceSucceeded",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the indexes hold of one Workspace, each object cut down to what is read here."""

    name: str
    instance_type: str
    nodes_needed: int
    reasoning: str
    claims: list[Json]
    nodes: list[Json]
    pods: list[Json]
    workload: Json | None


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    condition: str
    is_open: bool
    message: str
    culprit: str
    since: str | None = None
    reason: str = ""
    next_step: str = ""


def stages(seen: Seen) -> list[Stage]:
    """Every stage in order, open or closed, with the object that it hangs on."""
    claim = seen.claims[0] if seen.claims else None
    node = seen.nodes[0] if seen.nodes else None
    pod = seen.pods[0] if seen.pods else None
    return [
        Stage("NodesPlanned", "ResourceReady", True, seen.reasoning, f"workspace/{seen.name}"),
        _counted(seen, claim),
        *(
            _of_claim(seen, claim, *names)
            for names in (("ClaimLaunched", "Launched"), ("NodeRegistered", "Registered"))
        ),
        _of_claim(seen, claim, "ClaimInitialized", "Initialized"),
        *_of_node(seen, node),
        _of_workload(seen),
        *_of_pod(seen, pod),
    ]


def _counted(seen: Seen, claim: Json | None) -> Stage:
    message = f"{len(seen.claims)} of {seen.nodes_needed} NodeClaims exist"
    is_open, since = len(seen.claims) >= seen.nodes_needed, claim and claim["created"]
    return Stage("ClaimCreated", "NodeClaimReady", is_open, message, f"workspace/{seen.name}", since, "NotCreated")


def _of_claim(seen: Seen, claim: Json | None, name: str, type_: str) -> Stage:
    if claim is None:
        return _later(seen, name, "NodeClaimReady", "no NodeClaim yet")
    found = condition(claim, type_)
    is_open, culprit = is_true(found), f"nodeclaim/{claim['name']}"
    message = f"{claim['name']} is {type_}" if is_open else found.get("message", "") or f"not {type_} yet"
    step = f"kubectl describe nodeclaim {claim['name']}"
    reason = found.get("reason", "") or "AwaitingReconciliation"
    return Stage(name, "NodeClaimReady", is_open, message, culprit, found.get("lastTransitionTime"), reason, step)


def _of_node(seen: Seen, node: Json | None) -> Iterator[Stage]:
    if node is None:
        for name in ("NodeReady", "TaintsCleared", "InstanceTypeMatched"):
            yield _later(seen, name, "NodesReady", "no node yet")
        yield _later(seen, "GPUAllocatable", "GPUReady", "no node yet")
        return
    name, culprit, step = node["name"], f"node/{node['name']}", f"kubectl describe node {node['name']}"
    ready = condition(node, "Ready")
    since = ready.get("lastTransitionTime")
    words = f"{name} is Ready" if is_true(ready) else f"{name} is not Ready: {ready.get('message', '')}"
    yield Stage("NodeReady", "NodesReady", is_true(ready), words, culprit, since, "NodeNotReady", step)
    taints = [t["key"] for t in node["taints"] if t["key"] not in TOLERATED and t["effect"] != "PreferNoSchedule"]
    words = f"{name} has {', '.join(taints)}" if taints else f"{name} takes our pods"
    yield Stage("TaintsCleared", "NodesReady", not taints, words, culprit, None, "NodeTainted", step)
    is_right = node["labels"].get(INSTANCE_TYPE) == seen.instance_type
    words = f"{name} is a {node['labels'].get(INSTANCE_TYPE)}"
    yield Stage("InstanceTypeMatched", "NodesReady", is_right, words, culprit, None, "InstanceTypeMismatch", step)
    gpus = int(node["allocatable"].get(GPU, 0))
    words = f"{name} offers {gpus} of 1 {GPU}"
    yield Stage("GPUAllocatable", "GPUReady", gpus >= 1, words, culprit, None, "DevicePluginMissing", step)


def _of_workload(seen: Seen) -> Stage:
    if seen.workload is None:
        return _later(seen, "WorkloadCreated", "InferenceReady", "the workload is created when the nodes are ready")
    culprit, words = f"statefulset/{seen.name}", f"StatefulSet {seen.name} exists"
    return Stage("WorkloadCreated", "InferenceReady", True, words, culprit, seen.workload["created"])


def _of_pod(seen: Seen, pod: Json | None) -> Iterator[Stage]:
    if pod is None:
        for stage in ("PodScheduled", "ContainersStarted", "ServerReady"):
            yield _later(seen, stage, "InferenceReady", "no pod yet")
        return
    name, culprit, step = pod["name"], f"pod/{pod['name']}", f"kubectl describe pod {pod['name']}"
    placed, ready = condition(pod, "PodScheduled"), condition(pod, "Ready")
    words = f"{name} is on {pod['node']}" if pod["node"] else f"{name} waits for the scheduler"
    since = placed.get("lastTransitionTime")
    yield Stage("PodScheduled", "InferenceReady", bool(pod["node"]), words, culprit, since, "AwaitingScheduler", step)
    running = [status.get("state", {}).get("running") for status in pod["statuses"]]
    has_begun = bool(running) and all(running)
    started = max((state["startedAt"] for state in running if state), default=None)
    words = f"the containers of {name} {'run' if has_begun else 'are starting'}"
    yield Stage("ContainersStarted", "InferenceReady", has_begun, words, culprit, started, "ContainerCreating", step)
    since = ready.get("lastTransitionTime")
    words = f"the server in {name} {'answers' if is_true(ready) else 'is loading the model'}"
    yield Stage("ServerReady", "InferenceReady", is_true(ready), words, culprit, since, "ModelLoading", step)


def _later(seen: Seen, name: str, condition_of: str, message: str) -> Stage:
    return Stage(name, condition_of, False, message, f"workspace/{seen.name}", None, "AwaitingEarlierStage")


def condition(obj: Json, type_: str) -> Json:
    return next((item for item in obj["conditions"] if item["type"] == type_), {})


def is_true(found: Json) -> bool:
    return found.get("status") == "True"


def status_of(seen: Seen, found: list[Stage], before: Json, generation: int, now: str) -> Json:
    """`.status`: state, conditions, blockers and timeline, with the times that were written before."""
    closed = [stage for stage in found if not stage.is_open]
    recorded = {stage["stage"]: stage["at"] for stage in before.get("timeline") or ()}
    waited = {(item["gate"], item["culprit"]): item["since"] for item in before.get("blockers") or ()}
    is_serving = not closed
    return {
        "state": "Ready" if is_serving else "NotReady" if before.get("state") in ("Ready", "NotReady") else "Pending",
        "workerNodes": sorted(node["name"] for node in seen.nodes if is_true(condition(node, "Ready"))),
        "blockers": [
            {
                "gate": stage.name,
                "reason": stage.reason,
                "message": stage.message,
                "culprit": stage.culprit,
                "since": stage.since or waited.get((stage.name, stage.culprit)) or now,
                "nextStep": stage.next_step,
            }
            for stage in closed[:1]
        ],
        "timeline": [
            {"stage": stage.name, "at": recorded.get(stage.name) or stage.since or now, "message": stage.message}
            for stage in found
            if stage.is_open
        ],
        "conditions": _conditions(closed, before.get("conditions") or (), generation, now),
        "targetNodeCount": seen.nodes_needed,
        "instanceType": seen.instance_type,
    }


def _conditions(closed: list[Stage], before: Any, generation: int, now: str) -> list[Json]:
    known = {item["type"]: item for item in before}
    first = {stage.condition: stage for stage in reversed(closed)}
    machine_side = [stage for stage in closed if stage.condition != "InferenceReady"]
    if machine_side:
        first["ResourceReady"] = machine_side[0]
    if closed:
        first["WorkspaceSucceeded"] = closed[0]
        first.setdefault("InferenceReady", closed[0])
    made = []
    for type_, reason in CONDITIONS.items():
        stage, old = first.get(type_), known.get(type_, {})
        status = "False" if stage else "True"
        made.append(
            {
                "type": type_,
                "status": status,
                "reason": stage.reason if stage else reason,
                "message": stage.message if stage else "",
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else now,
            }
        )
    return made
