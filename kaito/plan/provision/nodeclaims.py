"""NodeClaims, one per machine, that a provisioner in the style of gpu-provisioner answers.

Counting is by the label pair, whatever the names, so that claims of an upstream KAITO count. Names are a function of
the view alone, so that a stale view asks for a claim that exists already (`AlreadyExists` and ours = success) and can
never multiply nodes. A replacement is named while the claim that it replaces is still terminating: its creation then
precedes that deletion in the one watch stream of the kind, and no view shows the deletion without the creation.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.meta import ObjectRef
from kaito.api.names import CLAIM_LABELS, node_claim_name
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.plan.actions import Action, Create, Delete, Emit
from kaito.plan.desired.nodeclaims import node_claim
from kaito.plan.ownership import Tie
from kaito.plan.provision.brought import brought_nodes, counted_nodes
from kaito.plan.provision.expiry import expired, surplus
from kaito.plan.provision.given_up import given_up, wait_s
from kaito.plan.provision.order import MachineOrder
from kaito.plan.refusals import refusal
from kaito.plan.snapshot import Snapshot, claim_ref, latest, parse_time
from kaito.plan.stock import Claimant, Demand, Stock
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

CHAIN_MAX = 32  # names tried per slot: salts past foreign claims and replacements of replacements that are all leaving
GATE = "ClaimCreated"


def pins(root: ObjectRef) -> dict[str, str]:
    """Labels of the root's nodes and of nobody else's: its pods insist on them."""
    name, namespace = CLAIM_LABELS[root.kind]
    return {name: root.name, namespace: root.namespace}


def take_stock(view: ClusterView, demand: Demand, settings: PlanSettings) -> Stock:
    """The root's claims and nodes against the number that it needs."""
    root = demand.claimant
    claims, around = view.claims_of(root.ref), view.nodes_of(root.ref)
    brought = brought_nodes(view, around, claims, pins(root.ref))
    needed = max(0, (demand.nodes or 0) - len(brought))
    counted = tuple(claim for claim in claims if not claim.metadata.deletion_timestamp)
    leaving = tuple(c for c in claims if c.metadata.deletion_timestamp and root.tie(c.metadata) is Tie.OWN)
    names, blocking = _free_names(view, root, max(0, needed - len(counted)))
    nodes = counted_nodes(view, around, counted, brought)
    return Stock(needed, counted, leaving, blocking, names, nodes)


def relinquish(s: Snapshot) -> Iterator[Action]:
    """Deletes claims whose time is up and claims beyond the target."""
    for expiry in expired(s):
        claim = expiry.claim
        yield Delete(NODE_CLAIM, claim_ref(claim), claim.metadata.uid, f"to be replaced: {expiry.reason}")
    for claim in surplus(s):
        reason = f"one too many: {len(s.stock.counted)} claims for {s.target} nodes"
        yield Delete(NODE_CLAIM, claim_ref(claim), claim.metadata.uid, reason)


def acquire(s: Snapshot, order: MachineOrder) -> Iterator[Action]:
    """Creates the claims that are missing, unless the last ones were given up just now."""
    if s.view.is_absent(NODE_CLAIM) or wait_s(s) > 0:
        return
    first = len(s.stock.counted) + 1
    creates = [
        Create(NODE_CLAIM, _body(name, s, order), f"{index} of {s.stock.needed} nodes")
        for index, name in enumerate(s.stock.names, start=first)
    ]
    yield from creates
    for create in creates:
        message = f"NodeClaim {create.ref.name} asks for one {order.instance_type}: {create.reason}"
        yield Emit(s.ref, s.uid, "Normal", "NodeClaimCreated", message)


def judge(s: Snapshot) -> Verdict | None:
    """Whether as many claims exist as machines are needed."""
    if s.target is None:
        return s.later(GATE, "no NodeClaim yet: the node count is not known")
    stock = s.stock
    if len(stock.counted) >= stock.needed:
        since = latest([parse_time(claim.metadata.creation_timestamp) for claim in stock.counted])
        return Ready(GATE, _counted(s), claim_ref(stock.counted[0]) if len(stock.counted) == 1 else None, since)
    if s.view.is_absent(NODE_CLAIM):
        culprit = CUSTOM_RESOURCE_DEFINITION.ref("", f"{NODE_CLAIM.plural}.{NODE_CLAIM.group}")
        return Failed(
            GATE,
            "NodeClaimKindAbsent",
            f"the cluster has no {NODE_CLAIM.api_version} NodeClaim kind, so no machine can be asked for",
            culprit,
            "install a node provisioner (gpu-provisioner or Karpenter), or run the operator with node provisioner byo",
            s.first_seen(GATE, culprit),
        )
    if stock.blocking:
        return _blocked(s)
    for name in stock.names:
        if refused := refusal(s, GATE, NODE_CLAIM.ref("", name)):
            return refused
    message = f"{len(stock.counted)} of {stock.needed} NodeClaims exist"
    if given_up(s).times:
        return s.later(GATE, f"{message}; the next is asked for in a while")
    return Waiting(
        GATE, "NodeClaimNotReady", message, s.ref, "none: the operator is creating the rest", s.first_seen(GATE, s.ref)
    )


def _body(name: str, s: Snapshot, order: MachineOrder) -> dict[str, object]:
    return node_claim(
        name,
        pins(s.ref),
        root_uid=s.uid,
        instance_type=order.instance_type,
        match_labels=order.match_labels,
        cloud_provider=s.settings.cloud_provider,
        node_image_family=order.image_family,
        storage_gib=order.storage_gib,
    )


def _free_names(view: ClusterView, root: Claimant, missing: int) -> tuple[tuple[str, ...], tuple[NodeClaim, ...]]:
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


def _free_name(view: ClusterView, root: Claimant, index: int) -> str | NodeClaim | None:
    """The slot's next free name, the claim to wait for, or None where a live claim of ours fills the slot."""
    kind, namespace, name_of_root = root.ref
    replaces, salt = "", 0
    for _ in range(CHAIN_MAX):
        name = node_claim_name(namespace, name_of_root, index, replaces_uid=replaces, salt=salt, kind=kind)
        claim = view.claim(name)
        if claim is None:
            return name
        is_leaving = claim.metadata.deletion_timestamp is not None
        match root.tie(claim.metadata):
            case Tie.FOREIGN:
                salt += 1
            case Tie.OWN if is_leaving:
                replaces, salt = claim.metadata.uid, 0
            case Tie.FORMER | Tie.LATER if is_leaving:
                return claim
            case _:
                return None
    return None


def _blocked(s: Snapshot) -> Waiting:
    claim = s.stock.blocking[0]
    return Waiting(
        GATE,
        "FormerClaimTerminating",
        f"NodeClaim {claim.metadata.name} of a former {s.ref.kind} of this name is still terminating",
        claim_ref(claim),
        f"wait for its machine to be released; if that hangs: kubectl describe nodeclaim {claim.metadata.name}",
        parse_time(claim.metadata.deletion_timestamp),
    )


def _counted(s: Snapshot) -> str:
    brought = (s.target or 0) - s.stock.needed
    words = f"{len(s.stock.counted)} of {s.stock.needed} NodeClaims exist"
    return f"{words}, {brought} nodes are brought by the user" if brought > 0 else words
