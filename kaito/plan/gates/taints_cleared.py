"""Gate: no taint keeps our pods off the nodes (those that the pods tolerate do not count)."""

from __future__ import annotations

from kaito.api.core import Node, Taint
from kaito.plan.placement import is_tolerated
from kaito.plan.snapshot import Snapshot, is_node_ready, node_ref
from kaito.plan.verdict import Ready, Verdict, Waiting, at_least

NAME = "TaintsCleared"
CONDITION = "NodesReady"

BLOCKING_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


def judge(s: Snapshot) -> Verdict | None:
    verdicts = [_judge_node(s, node) for node in s.nodes]
    return at_least(NAME, s.needed, verdicts, what="nodes free of blocking taints", root=s.ref)


def _judge_node(s: Snapshot, node: Node) -> Verdict:
    name = node.metadata.name
    effective = [taint for taint in _taints(node) if taint.effect in BLOCKING_EFFECTS]
    blocking = [taint for taint in effective if not is_tolerated(taint, s.settings.cloud_provider, s.gpu_resource)]
    if not blocking or s.hosts_ready_pod(node):
        return Ready(NAME, f"{name} takes our pods", node_ref(node))
    if not is_node_ready(node) and UNSCHEDULABLE not in blocking:
        # The control plane taints a node that is not ready, and startup taints go when it is.
        return s.later(NAME, f"{name} is not Ready: its taints go when it is")
    words = ", ".join(f"{t.key}={t.value}:{t.effect}" if t.value else f"{t.key}:{t.effect}" for t in blocking)
    if UNSCHEDULABLE in blocking:
        step = f"kubectl uncordon {name}"
    else:
        step = f"startup taints go by themselves; if not: kubectl taint node {name} {blocking[0].key}-"
    since = s.first_seen(NAME, node_ref(node))
    return Waiting(NAME, "NodeTainted", f"{name} has {words}", node_ref(node), step, since)


def _taints(node: Node) -> tuple[Taint, ...]:
    if node.spec.unschedulable and UNSCHEDULABLE not in node.spec.taints:
        return (*node.spec.taints, UNSCHEDULABLE)
    return node.spec.taints
