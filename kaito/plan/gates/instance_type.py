"""Gate: the nodes are of the instance type that was asked for (a provisioner may substitute)."""

from __future__ import annotations

from kaito.api.core import Node
from kaito.api.names import LABEL_INSTANCE_TYPE
from kaito.plan.snapshot import Snapshot, node_ref
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = "InstanceTypeMatched"
CONDITION = "NodesReady"


def judge(s: Snapshot) -> Verdict | None:
    if not s.instance_type:
        return None
    verdicts = [_judge_node(s, node) for node in s.nodes]
    return at_least(NAME, s.needed, verdicts, what=f"nodes of type {s.instance_type}", root=s.ref)


def _judge_node(s: Snapshot, node: Node) -> Verdict:
    name, seen = node.metadata.name, node.metadata.label(LABEL_INSTANCE_TYPE)
    if seen is not None and seen.lower() == s.instance_type.lower():
        return Ready(NAME, f"{name} is a {seen}", node_ref(node))
    if seen is None:
        since = s.first_seen(NAME, node_ref(node))
        message, step = (
            f"{name} has no label {LABEL_INSTANCE_TYPE} yet",
            "wait for the cloud controller to label the node",
        )
        return Waiting(NAME, "InstanceTypeUnknown", message, node_ref(node), step, since)
    return Failed(
        NAME,
        "InstanceTypeMismatch",
        f"{name} is a {seen}, asked for was {s.instance_type}",
        node_ref(node),
        "delete the NodeClaim of this node so that another is made, or ask for the type that the provisioner gives",
        s.first_seen(NAME, node_ref(node)),
    )
