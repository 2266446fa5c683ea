"""Where machines come from: each way is one module, all have the same face.

To add a way: one module with these five functions, and its row in PROVISIONERS. Gates judge the `Stock` that it takes;
the one gate that differs by provisioner (whether the machines have been asked for) is its `judge`. Release at the end
of a root's life is the same for all, because a root may have machines of more than one way (`plan.deletion`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from kaito.api.meta import ObjectRef
from kaito.api.names import CLAIM_LABELS
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.actions import Action
from kaito.plan.provision import byo, nodeclaims, nodepool
from kaito.plan.provision.order import MachineOrder
from kaito.plan.snapshot import Snapshot
from kaito.plan.stock import Demand, Stock
from kaito.plan.verdict import Verdict
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView


class Provisioner(Protocol):
    def pins(self, root: ObjectRef) -> dict[str, str]:
        """Labels of the root's nodes and of nobody else's: its pods insist on them."""
        ...

    def take_stock(self, view: ClusterView, demand: Demand, settings: PlanSettings) -> Stock:
        """What the root has of what it needs, and the names of what to ask for now."""
        ...

    def relinquish(self, s: Snapshot) -> Iterator[Action]:
        """What to give back now: expired, or one too many."""
        ...

    def acquire(self, s: Snapshot, order: MachineOrder) -> Iterator[Action]:
        """What to ask for now. It costs money, so it comes last in a plan."""
        ...

    def judge(self, s: Snapshot) -> Verdict | None:
        """Whether the machines have been asked for; None where nothing ever is."""
        ...


PROVISIONERS: dict[str, Provisioner] = {
    "azure-gpu-provisioner": nodeclaims,
    "karpenter": nodepool,
    "byo": byo,
}


def provisioner_of(view: ClusterView, root: ObjectRef, settings: PlanSettings) -> Provisioner:
    """The operator's way of getting machines, or the one that the root was born with.

    A change of the operator's flag must not move running servers to other nodes: what has claims of its own keeps them,
    what has a NodePool keeps that.
    """
    chosen = PROVISIONERS[settings.node_provisioner]
    if chosen is nodepool and any(_is_ours(claim, root) for claim in view.claims_of(root)):
        return nodeclaims
    if chosen is nodeclaims and view.pools_of(root):
        return nodepool
    return chosen


def _is_ours(claim: NodeClaim, root: ObjectRef) -> bool:
    return claim.metadata.label(CLAIM_LABELS[root.kind][0]) is not None and not claim.metadata.deletion_timestamp
