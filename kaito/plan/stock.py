"""Stock: what a root has of the machines that it needs. Filled in by its provisioner, judged by the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaito.api.core import Node
from kaito.api.meta import ObjectMeta, ObjectRef
from kaito.api.nodeclaim import NodeClaim
from kaito.api.nodepool import NodePool
from kaito.plan.ownership import Tie, tie_of

LIFECYCLE = ("Launched", "Registered", "Initialized", "Ready")


@dataclass(frozen=True, slots=True)
class Claimant:
    """What ties cluster-scoped objects to a root. `created`: the root's creationTimestamp."""

    ref: ObjectRef
    uid: str
    created: str

    def tie(self, metadata: ObjectMeta) -> Tie:
        return tie_of(metadata, self.ref, self.uid, self.created)


@dataclass(frozen=True, slots=True)
class Demand:
    """What the root needs: `nodes` is None while that is not known; the labels are those that nodes must carry."""

    claimant: Claimant
    nodes: int | None
    match_labels: Mapping[str, str] = field(default_factory=dict)
    preferred: tuple[str, ...] = ()  # names of nodes to be taken first, of those that carry the labels
    gpu_resource: str = ""
    gpus_per_pod: int = 0


@dataclass(frozen=True, slots=True)
class Stock:
    """`counted` claims stand for nodes that are or will be; `leaving` terminate; `blocking` hold a name we wait for.

    `nodes` are those that count for the root, whether claimed or brought by the user. `rivals`: node name → the root
    that has it, for nodes that carry the labels and are another root's.
    """

    needed: int = 0  # machines to be asked for
    counted: tuple[NodeClaim, ...] = ()
    leaving: tuple[NodeClaim, ...] = ()
    blocking: tuple[NodeClaim, ...] = ()
    names: tuple[str, ...] = ()  # of the objects to create now
    nodes: tuple[Node, ...] = ()
    pool: NodePool | None = None
    rivals: Mapping[str, ObjectRef] = field(default_factory=dict)


def has_reached(claim: NodeClaim, type_: str) -> bool:
    """Whether the claim has come this far in its life: Launched, Registered, Initialized.

    Ready means all of it. A provisioner that writes no lifecycle condition at all is believed by status.nodeName.
    """
    is_told = False
    for item in claim.status.conditions:
        if item.status == "True" and item.type in ("Ready", type_):
            return True
        is_told = is_told or item.type in LIFECYCLE
    return not is_told and bool(claim.status.node_name)
