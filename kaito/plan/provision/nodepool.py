"""One NodePool of static capacity per root: Karpenter makes its NodeClaims and keeps as many as `spec.replicas` says.

The name is upstream's. A pool of that name that is another root's makes us take a salted one; ours is known by its
labels and uid, whatever its name, so a second one is never made.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.meta import Json, ObjectRef, condition
from kaito.api.names import POOL_LABELS, node_pool_name
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL, NodePool
from kaito.plan.actions import Action, Apply, Create, Delete, Emit
from kaito.plan.children import difference
from kaito.plan.desired.nodepool import node_pool
from kaito.plan.diff import stamped
from kaito.plan.ownership import Tie
from kaito.plan.provision.brought import brought_nodes, counted_nodes
from kaito.plan.provision.expiry import expired
from kaito.plan.provision.given_up import given_up, is_held_back
from kaito.plan.provision.order import MachineOrder
from kaito.plan.refusals import refusal
from kaito.plan.snapshot import Snapshot, claim_ref, parse_time
from kaito.plan.stock import Claimant, Demand, Stock
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

GATE = "ClaimCreated"
SALTS_MAX = 32


def pins(root: ObjectRef) -> dict[str, str]:
    """Labels of the root's nodes and of nobody else's: its pods insist on them."""
    name, namespace = POOL_LABELS[root.kind]
    return {name: root.name, namespace: root.namespace}


def take_stock(view: ClusterView, demand: Demand, settings: PlanSettings) -> Stock:
    """The root's pool and what Karpenter made of it against the number that is needed."""
    root = demand.claimant
    claims, around = view.claims_of(root.ref), view.nodes_of(root.ref)
    brought = brought_nodes(view, around, claims, pins(root.ref))
    needed = max(0, (demand.nodes or 0) - len(brought))
    counted = tuple(claim for claim in claims if not claim.metadata.deletion_timestamp)
    leaving = tuple(claim for claim in claims if claim.metadata.deletion_timestamp)
    pool = next(iter(view.pools_of(root.ref)), None)
    names = (_free_name(view, root),) if pool is None and needed else ()
    nodes = counted_nodes(view, around, counted, brought)
    return Stock(needed, counted, leaving, (), names, nodes, pool)


def relinquish(s: Snapshot) -> Iterator[Action]:
    """Deletes claims whose time is up: Karpenter makes others. It takes those beyond the target."""
    for expiry in expired(s):
        claim = expiry.claim
        yield Delete(NODE_CLAIM, claim_ref(claim), claim.metadata.uid, f"to be replaced: {expiry.reason}")


def acquire(s: Snapshot, order: MachineOrder) -> Iterator[Action]:
    """Creates the pool, or brings it to the wanted size and shape, up or down."""
    if s.view.is_absent(NODE_POOL) or s.target is None:
        return
    pool = s.stock.pool
    if pool is None:
        for name in s.stock.names:
            create = Create(NODE_POOL, stamped(_body(name, s, order)), f"{s.stock.needed} nodes")
            yield create
            message = f"NodePool {name} asks for {s.stock.needed} of {order.instance_type}"
            yield Emit(s.ref, s.uid, "Normal", "NodePoolCreated", message)
    elif not pool.metadata.deletion_timestamp and _tie(s, pool) in (Tie.OWN, Tie.FORMER):
        body = _body(pool.metadata.name, s, order)
        if why := difference(body, pool):
            yield Apply(NODE_POOL, stamped(body), pool.metadata.uid, why)


def judge(s: Snapshot) -> Verdict | None:
    """Whether the pool stands and Karpenter has made its claims."""
    if s.target is None:
        return s.later(GATE, "no NodePool yet: the node count is not known")
    pool, stock = s.stock.pool, s.stock
    if not stock.needed or (pool is not None and len(stock.counted) >= stock.needed):
        words = f"NodePool {pool.metadata.name}: " if pool else ""
        message = f"{words}{len(stock.counted)} of {stock.needed} NodeClaims exist"
        since = parse_time(pool.metadata.creation_timestamp) if pool else None
        return Ready(GATE, message, _pool_ref(pool) if pool else None, since)
    if s.view.is_absent(NODE_POOL):
        return _kind_absent(s)
    if pool is None:
        for name in stock.names:
            if refused := refusal(s, GATE, NODE_POOL.ref("", name)):
                return refused
        step = "none: the operator is creating it"
        return Waiting(
            GATE, "NodeClaimNotReady", "the NodePool does not exist yet", s.ref, step, s.first_seen(GATE, s.ref)
        )
    if pool.metadata.deletion_timestamp:
        message, step = f"NodePool {pool.metadata.name} is being deleted", "wait: another is made when it is gone"
        since = parse_time(pool.metadata.deletion_timestamp)
        return Waiting(GATE, "NodePoolTerminating", message, _pool_ref(pool), step, since)
    return _short(s, pool)


def _short(s: Snapshot, pool: NodePool) -> Verdict:
    """Fewer claims than the pool asks for: in Karpenter's own words where it has any."""
    name, ref = pool.metadata.name, _pool_ref(pool)
    created = parse_time(pool.metadata.creation_timestamp) or s.now
    if given_up(s).times:
        return s.later(GATE, f"Karpenter gives up the NodeClaims of NodePool {name}; it is asked again in a while")
    message = f"{len(s.stock.counted)} of {s.stock.needed} NodeClaims of NodePool {name} exist"
    for type_ in ("ValidationSucceeded", "NodeClassReady", "Ready"):
        found = condition(pool.status.conditions, type_)
        if found is not None and found.status == "False":
            step = f"kubectl describe nodepool {name}"
            reason = found.reason or "NodePoolNotReady"
            return Failed(GATE, reason, f"{message}: {found.message or found.reason}", ref, step, created)
    since = created if not s.stock.counted else s.first_seen(GATE, ref)
    left_s = s.left_s(since, s.settings.unattended_claim_s)
    if left_s > 0:
        step = "none yet: Karpenter answers within seconds"
        return Waiting(GATE, "NodeClaimNotReady", message, ref, step, since, left_s)
    step = "check that Karpenter runs with its feature gate StaticCapacity: kubectl get pods -A | grep karpenter"
    return Failed(GATE, "NoProvisioner", f"{message}: nobody acts on it", ref, step, since)


def _kind_absent(s: Snapshot) -> Failed:
    culprit = CUSTOM_RESOURCE_DEFINITION.ref("", f"{NODE_POOL.plural}.{NODE_POOL.group}")
    return Failed(
        GATE,
        "NodePoolKindAbsent",
        f"the cluster has no {NODE_POOL.api_version} NodePool kind, so no machine can be asked for",
        culprit,
        "install Karpenter, or run the operator with another node provisioner",
        s.first_seen(GATE, culprit),
    )


def _body(name: str, s: Snapshot, order: MachineOrder) -> Json:
    # Karpenter itself would make claims without end, each of which it gives up in the same second.
    replicas = 0 if is_held_back(s) else s.stock.needed
    return node_pool(
        name,
        pins(s.ref),
        root_uid=s.uid,
        replicas=replicas,
        instance_type=order.instance_type,
        match_labels=order.match_labels,
        cloud_provider=s.settings.cloud_provider,
        node_class=order.node_class or s.settings.karpenter_node_class,
        is_replica=order.is_replica,
    )


def _free_name(view: ClusterView, root: Claimant) -> str:
    kind, namespace, name = root.ref
    names = (node_pool_name(namespace, name, salt=salt, kind=kind) for salt in range(SALTS_MAX))
    return next(name for name in names if view.pool(name) is None)


def _tie(s: Snapshot, pool: NodePool) -> Tie:
    return Claimant(s.ref, s.uid, s.created).tie(pool.metadata)


def _pool_ref(pool: NodePool) -> ObjectRef:
    return NODE_POOL.ref("", pool.metadata.name)
