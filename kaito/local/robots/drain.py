"""Draining a machine before it goes, as Karpenter does: pods are stopped while there is a kubelet to stop them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.local.robots.machine_node import CLAIM_ANNOTATION
from kaito.local.robots.status import is_condition_true, left_s
from kaito.local.robots.world import World, is_deleting

DRAIN_S = 60.0  # a pod that has not gone by then goes with its machine
DISRUPTED_TAINT: Json = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}


async def drain(world: World, node: Json, began: datetime) -> float | None:
    """Lets no new pod on the node and asks those on it to go; None when there are none, or their time is up."""
    name, wait_s = node["metadata"]["name"], left_s(began, DRAIN_S, world.now())
    if not wait_s or not is_condition_true(node, "Ready"):
        return None  # nobody is there to stop them
    taints = node["spec"].get("taints") or []
    if DISRUPTED_TAINT not in taints:
        await world.patch(NODE, node, {"spec": {"taints": [*taints, dict(DISRUPTED_TAINT)]}})
    for pod in world.pods_on(name):
        if not is_deleting(pod):
            await world.delete(POD, pod)
    return wait_s if world.pods_on(name) else None


def drained_claim(world: World, pod: Json | None) -> Iterable[ObjectRef]:
    """The claim whose node may have lost its last pod."""
    node = world.get(NODE, "", pod["spec"].get("nodeName") or "") if pod else None
    name = (node["metadata"].get("annotations") or {}).get(CLAIM_ANNOTATION) if node else None
    claim = world.get(NODE_CLAIM, "", name) if name else None
    if claim is not None and is_deleting(claim):
        yield NODE_CLAIM.ref("", claim["metadata"]["name"])
