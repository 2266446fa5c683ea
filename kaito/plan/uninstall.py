"""The operator's rights while everything is being deleted, and the order in which it lets go of them. Pure.

`kubectl delete -k` asks within a second for the deletion of everything: kinds, account, roles and bindings. To release
the roots takes the rights that hang on the latter, so these carry our finalizer: while it is there they exist, and with
them the right. But who takes the finalizer off one of them has lost the right to take it off the others, in whatever
order. So they are hung on one peg, the leader's Lease: it names them as its owners, carries our finalizer too, and is
deleted as soon as it is made, so that nothing but the finalizer keeps it (it can be renewed all the same). Then

1. each of them is deleted once more, in the foreground: the garbage collector holds it until the Lease is gone
2. our finalizer is taken off each, in any order, for the collector's own holds it now
3. our finalizer is taken off the Lease, which is the last write; the collector lets all of them go

The Lease has to be on its way out from the beginning, because the collector takes an owner that waits off a dependant
that has other owners, unless that dependant is being deleted (`attemptToDeleteItem`, seen on 1.20). And it has to know
its owners from the beginning, because the collector hears of different kinds in no particular order.

Law: whatever part of them is being deleted, every step is taken while the rights for it exist, and a crash between two
steps changes nothing of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kaito.api.core import LEASE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import OPERATOR_NAME, UNINSTALL_FINALIZER
from kaito.api.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from kaito.plan.roots import root_meta
from kaito.state.view import ClusterView

# The order matters only to who has no Lease to hang them on: the account last, for without it nothing is ours to do.
RIGHTS: tuple[ResourceKind, ...] = (ROLE_BINDING, ROLE, CLUSTER_ROLE_BINDING, CLUSTER_ROLE, SERVICE_ACCOUNT)
FOREGROUND = "foregroundDeletion"  # the garbage collector's: an object waits for its dependants


@dataclass(frozen=True, slots=True)
class Held:
    """One of RIGHTS, or the Lease. `is_terminating`: it has a deletionTimestamp.

    `is_leaving`: somebody wants it gone, because that is set, or on its namespace; of the Lease, the latter only.
    """

    kind: ResourceKind
    ref: ObjectRef
    uid: str
    version: str
    finalizers: tuple[str, ...]
    owners: frozenset[str]  # uids
    is_terminating: bool
    is_leaving: bool

    @property
    def is_ours(self) -> bool:
        return UNINSTALL_FINALIZER in self.finalizers


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete it (the Lease), or delete it in the foreground: it then waits for the Lease."""

    held: Held
    propagation: Literal["Background", "Foreground"]


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer off."""

    held: Held

    @property
    def patch(self) -> Json:
        kept = [name for name in self.held.finalizers if name != UNINSTALL_FINALIZER]
        return {"metadata": {"uid": self.held.uid, "resourceVersion": self.held.version, "finalizers": kept}}


@dataclass(frozen=True, slots=True)
class Hang:
    """Name these as the owners of the Lease, and put our finalizer on it."""

    held: Held  # the Lease
    owners: tuple[Held, ...]

    @property
    def patch(self) -> Json:
        references = [
            {"apiVersion": owner.kind.api_version, "kind": owner.kind.kind, "name": owner.ref.name, "uid": owner.uid,
             "blockOwnerDeletion": True}
            for owner in self.owners
        ]  # fmt: skip
        metadata: Json = {"uid": self.held.uid, "resourceVersion": self.held.version, "ownerReferences": references}
        if not self.held.is_ours:
            metadata["finalizers"] = [*self.held.finalizers, UNINSTALL_FINALIZER]
        return {"metadata": metadata}


Step: TypeAlias = Delete | Release | Hang


def rights(namespace: str) -> tuple[tuple[ResourceKind, ObjectRef], ...]:
    """What the operator's rights hang on; its Lease, which is named like them, is the last."""
    return tuple((kind, kind.ref(namespace, OPERATOR_NAME)) for kind in (*RIGHTS, LEASE))


def held_of(kind: ResourceKind, ref: ObjectRef, body: Json, *, is_namespace_leaving: bool) -> Held:
    metadata = body["metadata"]
    is_terminating = bool(metadata.get("deletionTimestamp"))
    return Held(
        kind,
        ref,
        metadata["uid"],
        metadata["resourceVersion"],
        tuple(metadata.get("finalizers") or ()),
        frozenset(owner["uid"] for owner in metadata.get("ownerReferences") or ()),
        is_terminating,
        (is_terminating and kind != LEASE) or (kind.namespaced and is_namespace_leaving),
    )


def hanging_steps(held: Sequence[Held]) -> tuple[Step, ...]:
    """What the leader has to do, the day that it begins, so that an uninstall can end; empty when it is done."""
    lease = _lease_of(held)
    owners = tuple(each for kind in RIGHTS for each in held if each.kind == kind and each.is_ours)
    if lease is None or not owners or (lease.is_terminating and not lease.is_ours):
        return ()
    if not lease.is_ours or {each.uid for each in owners} != lease.owners:
        return (Hang(lease, owners),)
    return () if lease.is_terminating else (Delete(lease, "Background"),)


def waiting(held: Sequence[Held]) -> tuple[Held, ...]:
    """What is being deleted and waits for our finalizer to be taken off; the Lease only where it holds up others."""
    found = tuple(each for kind in RIGHTS for each in held if each.kind == kind and each.is_leaving and each.is_ours)
    lease = _lease_of(held)
    if lease is None or not lease.is_ours:
        return found
    is_pulled = any(each.uid in lease.owners and FOREGROUND in each.finalizers for each in held)
    return (*found, lease) if is_pulled or lease.is_leaving else found


def release_steps(held: Sequence[Held]) -> tuple[Step, ...]:
    """What to do now that no root is left; look again afterwards. Empty when nothing waits for us."""
    lease, found = _lease_of(held), waiting(held)
    leaving = [each for each in found if each.kind != LEASE]
    if not leaving:
        return tuple(map(Release, found))
    hung = [each for each in leaving if lease is not None and lease.is_ours and each.uid in lease.owners]
    if hung and lease is not None and not lease.is_terminating:
        return (Delete(lease, "Background"),)
    if unheld := [each for each in hung if FOREGROUND not in each.finalizers]:
        return tuple(Delete(each, "Foreground") for each in unheld)
    return tuple(map(Release, leaving))


def _lease_of(held: Sequence[Held]) -> Held | None:
    return next((each for each in held if each.kind == LEASE), None)


def unreleased(view: ClusterView, kinds: Iterable[ResourceKind]) -> tuple[ObjectRef, ...]:
    """The roots of kinds that are being deleted which wait for us. What is not among them never will be again: no
    finalizer can be added to an object that is being deleted.
    """
    found = [root_meta(root, kind) for kind in kinds for root in view.roots(kind)]
    return tuple(root.ref for root in found if not root.deleting_since or root.finalizer in root.finalizers)
