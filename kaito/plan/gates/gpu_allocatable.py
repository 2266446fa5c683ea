"""Gate: each node offers as many GPUs as a pod will request, whatever the instance type and the tables know."""

from __future__ import annotations

from kaito.api.core import Node
from kaito.plan.snapshot import Snapshot, is_node_ready, node_ref
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = "GPUAllocatable"
CONDITION = "GPUReady"


def judge(s: Snapshot) -> Verdict | None:
    verdicts = [_judge_node(s, node) for node in s.nodes]
    return at_least(NAME, s.needed, verdicts, what=f"nodes offer {s.gpus_per_pod} {s.gpu_resource}", root=s.ref)


def _judge_node(s: Snapshot, node: Node) -> Verdict:
    name, ref, needed = node.metadata.name, node_ref(node), s.gpus_per_pod
    capacity, allocatable = _count(node.status.capacity, s), _count(node.status.allocatable, s) or 0
    if allocatable >= needed:
        return Ready(NAME, f"{name} offers {allocatable} of {needed} {s.gpu_resource}", ref)
    since = s.first_seen(NAME, ref)
    if capacity is not None and 0 < capacity < needed:
        message = f"{name} has {capacity} {s.gpu_resource}, a pod requests {needed}"
        step = "use an instance type with more GPUs, or a template that requests fewer"
        return Failed(NAME, "GPUCountTooSmall", message, ref, step, since)
    if not is_node_ready(node):
        return s.later(NAME, f"{name} is not Ready: its device plugin runs when it is")
    left_s = s.left_s(since, s.settings.capacity_flap_tolerance_s)
    if left_s > 0 and (s.passed_at(NAME) or s.hosts_ready_pod(node)):
        # A restarting device plugin zeroes the node's GPUs for a moment: the gate stays open for as long as is
        # tolerated.
        message = f"{name} offered enough {s.gpu_resource} before and now offers {allocatable} of {needed}"
        step = "wait: a restarting device plugin reports 0 for a moment"
        return Waiting(NAME, "GPUCapacityFlapping", message, ref, step, since, left_s, is_tolerated=True)
    reason, message, step = _diagnosis(s, name, capacity, allocatable)
    return Waiting(NAME, reason, message, ref, step, since)


def _diagnosis(s: Snapshot, name: str, capacity: int | None, allocatable: int) -> tuple[str, str, str]:
    """Reason, message and next step for a node that does not offer enough."""
    if capacity is None:
        return (
            "DevicePluginMissing",
            f"{name} does not offer {s.gpu_resource}: no device plugin has registered with its kubelet",
            f"check driver and plugin there: kubectl get pods -A -o wide --field-selector spec.nodeName={name}",
        )
    if capacity == 0:
        return (
            "GPUCapacityZero",
            f"{name} reports 0 {s.gpu_resource}: a device plugin registered and found no GPU, or it is restarting",
            f"see the device plugin's log on {name}; the driver may still be installing or have failed",
        )
    return (
        "GPUUnhealthy",
        f"{name} has {capacity} {s.gpu_resource}, of which the device plugin calls {capacity - allocatable} unhealthy",
        "see the device plugin's log for XID errors; replace the node if its GPUs are broken",
    )


def _count(resources: dict[str, str], s: Snapshot) -> int | None:
    """Whole devices, None where the resource is not there at all. A broken value counts as 0."""
    text = resources.get(s.gpu_resource)
    if text is None:
        return None
    return int(text) if text.isdecimal() else 0
