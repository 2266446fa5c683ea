"""A Workspace's NodeClaims: which count, which are leaving, which have expired, and the names of those to create.

Counting is by the label pair, whatever the names, so that claims of an upstream KAITO count. Names are a function of
the view alone, so that a stale view asks for a claim that exists already (`AlreadyExists` and ours = success) and can
never multiply nodes. A replacement is named while the claim that it replaces is still terminating: its creation then
precedes that deletion in the one watch stream of the kind, and no view shows the deletion without the creation.
"""

from __future__ import annotations

from dataclasses import dataclass

from kaito.api.meta import ObjectRef
from kaito.api.names import node_claim_name
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.ownership import ClaimTie, tie_of_claim
from kaito.state.view import ClusterView

CHAIN_MAX = 32  # names tried per slot: salts past foreign claims and replacements of replacements that are all leaving

LIFECYCLE = ("Launched", "Registered", "Initialized", "Ready")


@dataclass(frozen=True, slots=True)
class ClaimLedger:
    """`counted` stand for nodes that are or will be; `leaving` terminate; `blocking` hold a name that we wait for."""

    needed: int
    counted: tuple[NodeClaim, ...] = ()
    leaving: tuple[NodeClaim, ...] = ()
    blocking: tuple[NodeClaim, ...] = ()
    names: tuple[str, ...] = ()  # of the claims to create now


@dataclass(frozen=True, slots=True)
class ClaimRoot:
    """What ties claims to a Workspace."""

    ref: ObjectRef
    uid: str
    created: str  # creationTimestamp

    def tie(self, claim: NodeClaim) -> ClaimTie:
        return tie_of_claim(claim.metadata, self.ref, self.uid, self.created)


def take_stock(view: ClusterView, root: ClaimRoot, needed: int) -> ClaimLedger:
    """The ledger of the root's claims against the number that it needs."""
    claims = view.claims_of(root.ref)
    counted = tuple(claim for claim in claims if not claim.metadata.deletion_timestamp)
    leaving = tuple(claim for claim in claims if claim.metadata.deletion_timestamp and root.tie(claim) is ClaimTie.OWN)
    names, blocking = _free_names(view, root, max(0, needed - len(counted)))
    return ClaimLedger(needed, counted, leaving, blocking, names)


def to_release(view: ClusterView, root: ClaimRoot) -> tuple[NodeClaim, ...]:
    """The claims that must be gone before the Workspace may go: its own and those of its former namesakes."""
    ties = (ClaimTie.OWN, ClaimTie.FORMER)
    return tuple(claim for claim in view.claims_of(root.ref) if root.tie(claim) in ties)


def _free_names(view: ClusterView, root: ClaimRoot, missing: int) -> tuple[tuple[str, ...], tuple[NodeClaim, ...]]:
    names: list[str] = []
    blocking: list[NodeClaim] = []
    index = 0
    while len(names) + len(blocking) < missing:
        found = _free_name(view, root, index)
        if isinstance(found, str):
            names.append(found)
        elif found is not None:
            blocking.append(found)
        index += 1
    return tuple(names), tuple(blocking)


def _free_name(view: ClusterView, root: ClaimRoot, index: int) -> str | NodeClaim | None:
    """The slot's next free name, the claim to wait for, or None where a live claim of ours fills the slot."""
    replaces, salt = "", 0
    for _ in range(CHAIN_MAX):
        name = node_claim_name(root.ref.namespace, root.ref.name, index, replaces_uid=replaces, salt=salt)
        claim = view.claim(name)
        if claim is None:
            return name
        is_leaving = claim.metadata.deletion_timestamp is not None
        match root.tie(claim):
            case ClaimTie.FOREIGN:
                salt += 1
            case ClaimTie.OWN if is_leaving:
                replaces, salt = claim.metadata.uid, 0
            case ClaimTie.FORMER | ClaimTie.LATER if is_leaving:
                return claim
            case _:
                return None
    return None


def has_reached(claim: NodeClaim, type_: str) -> bool:
    """Whether the claim has come this far in its life: Launched, Registered, Initialized.

    Ready means all of it. A provisioner that writes no lifecycle condition at all is believed by status.nodeName.
    """
    found = {item.type: item.status == "True" for item in claim.status.conditions}
    if found.get("Ready") or found.get(type_):
        return True
    return not any(step in found for step in LIFECYCLE) and bool(claim.status.node_name)
