"""A root that is being deleted: its machines go first, then our finalizer. It ends, or names what it waits for.

The workload goes with the machines, and does not wait for the server's collector (which waits for the root, and so for
the machines): a drain would have its controller make pods that fit nowhere, and these would keep the disruption budget
from letting the other machines go.

Validation has no say here, an absent kind means that nothing of it is left to release, and a kind that cannot be read
means that we do not know: the finalizer stays, because a leaked GPU machine costs more than a patient user. What is
released does not depend on the provisioner of today: NodePools and NodeClaims go alike, whoever made them for the root.

An uninstall takes the operator away with its kinds, and a machine takes minutes to go. So a root whose kind is leaving
goes when all that asks for its machines is being deleted: the provisioner's own finalizer holds each claim until its
machine is gone, and nothing makes a claim come back. Its children are deleted too, for the garbage collector may not
have heard of a kind that goes (it looks for new ones every 30 s), and then keeps what it cannot ask about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectMeta, ResourceKind
from kaito.api.names import headless_service_name
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.nodepool import NODE_POOL, NodePool
from kaito.api.workloads import CONTROLLER_REVISION, DEPLOYMENT, JOB, STATEFUL_SET
from kaito.plan.actions import Action, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.conditions import WantedCondition, merge_conditions, status_patch
from kaito.plan.desired.disruption_budget import budget_kind
from kaito.plan.explain import blockers, headline
from kaito.plan.ownership import Tie, is_child
from kaito.plan.roots import RootMeta
from kaito.plan.snapshot import parse_time
from kaito.plan.verdict import Waiting
from kaito.state.view import ClusterView

GATE = "Released"
MACHINE_KINDS: tuple[ResourceKind, ...] = (NODE_POOL, NODE_CLAIM)  # a pool first, or it would make its claims again

HARMLESS = (SERVICE, CONTROLLER_REVISION)  # children that stand in no drain's way: the server collects them


class _Named(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


def plan_deletion(view: ClusterView, root: RootMeta, now: datetime) -> Plan:
    """Deletes what asks for machines, says what is still there, and lets the root go when nothing is."""
    if root.finalizer not in root.finalizers:
        return Plan(root.ref)
    unknown = [kind for kind in MACHINE_KINDS if not view.is_synced(kind)]
    if unknown:
        waits = tuple(_unknown(kind, root) for kind in unknown)
        return Plan(root.ref, _status(root, waits, now), waits)
    held = [(kind, item) for kind, items in _machines(view, root) for item in items]
    deletes = tuple(_delete(kind, item.metadata, root) for kind, item in held if not item.metadata.deletion_timestamp)
    if view.is_leaving(root.kind):  # a plan ends at the first action that fails: the release comes after all deletes
        children = (_delete(kind, metadata, root) for kind, metadata in _children(view, root))
        return Plan(root.ref, (*deletes, *children, _release(root, "uninstalled; its machines are on their way out")))
    if not held:
        return Plan(root.ref, (_release(root, "its machines are released"),))
    verdicts = tuple(_wait(kind, item, root) for kind, item in held)
    drained = (_delete(kind, metadata, root) for kind, metadata in _children(view, root) if kind not in HARMLESS)
    return Plan(root.ref, (*_status(root, verdicts, now), *deletes, *drained), verdicts)


def _release(root: RootMeta, reason: str) -> PatchRoot:
    patch = {"metadata": {"finalizers": [name for name in root.finalizers if name != root.finalizer]}}
    return PatchRoot(root.kind, root.ref, patch, root.uid, root.resource_version, reason)


def _delete(kind: ResourceKind, metadata: ObjectMeta, root: RootMeta) -> Delete:
    ref = kind.ref(metadata.namespace, metadata.name)
    return Delete(kind, ref, metadata.uid, f"its {root.kind.kind} is being deleted")


def _children(view: ClusterView, root: RootMeta) -> Iterator[tuple[ResourceKind, ObjectMeta]]:
    """What was made for the root in its namespace and is not being deleted yet, the workload first."""
    ref = root.ref
    known: tuple[tuple[ResourceKind, _Named | None], ...] = (
        (STATEFUL_SET, view.stateful_set(ref)),
        (JOB, view.job(ref)),
        (DEPLOYMENT, view.deployment(ref)),
        (SERVICE, view.service(ref.namespace, ref.name)),
        (SERVICE, view.service(ref.namespace, headless_service_name(ref.name))),
        (budget_kind(view.capabilities), view.budget(ref)),
        *((CONTROLLER_REVISION, revision) for revision in view.revisions_of(ref)),
    )
    for kind, child in known:
        if child and not child.metadata.deletion_timestamp and is_child(child.metadata, root.uid):
            yield kind, child.metadata


def _machines(view: ClusterView, root: RootMeta) -> Sequence[tuple[ResourceKind, Sequence[NodePool | NodeClaim]]]:
    """What asks for machines of the root, or of its former namesakes."""
    ties = (Tie.OWN, Tie.FORMER)
    pools = [pool for pool in view.pools_of(root.ref) if root.claimant.tie(pool.metadata) in ties]
    claims = [claim for claim in view.claims_of(root.ref) if root.claimant.tie(claim.metadata) in ties]
    return ((NODE_POOL, pools), (NODE_CLAIM, claims))


def _unknown(kind: ResourceKind, root: RootMeta) -> Waiting:
    message = f"{kind.kind}s cannot be listed, so it is not known whether machines are left"
    step = f"let the operator's service account list {kind.plural}.{kind.group}"
    return Waiting(GATE, f"{kind.kind}sUnknown", message, root.ref, step)


def _wait(kind: ResourceKind, item: NodePool | NodeClaim, root: RootMeta) -> Waiting:
    name = item.metadata.name
    holders = ", ".join(item.metadata.finalizers)
    message = f"{kind.kind} {name} has to go first" + (f"; it is held by {holders}" if holders else "")
    return Waiting(
        GATE,
        f"{kind.kind}Terminating",
        message,
        kind.ref("", name),
        f"the node provisioner releases the machine; if that hangs: kubectl describe {kind.kind.lower()} {name}",
        parse_time(item.metadata.deletion_timestamp) or parse_time(root.deleting_since),
    )


def _status(root: RootMeta, waits: tuple[Waiting, ...], now: datetime) -> tuple[Action, ...]:
    """Only the condition of the deletion and the blockers change: the rest stays as it was when the deletion began."""
    kind = root.kind.kind
    wanted = WantedCondition(f"{kind}Deleting", True, f"{kind.lower()}Deleted", headline(waits[0]))
    status: Json = root.status | {
        "blockers": blockers(waits, root.status.get("blockers") or (), now),
        "conditions": merge_conditions(
            root.status.get("conditions") or (), [wanted], generation=root.generation, now=now
        ),
    }
    patch = status_patch(root.status, status)
    if not patch:
        return ()
    return (PatchStatus(root.kind, root.ref, patch, root.uid, root.resource_version, "what the deletion waits for"),)
