"""Whose object is it? The one place that answers, for the planner (typed objects) and for the applier (JSON).

Namespaced children carry a controller reference to their root, and the annotation `kaito.sh/workspace-uid`, by which a
child whose owner references were stripped by hand is known again. A NodeClaim is cluster scoped and cannot be owned by
a namespaced object (the server never collects such references), so it is tied to its Workspace by a label pair,
whatever its name, and by that annotation, which tells a Workspace from a former one of the same name.
"""

from __future__ import annotations

from enum import Enum

from kaito.api.meta import Json, ObjectMeta, ObjectRef, ResourceKind
from kaito.api.names import LABEL_WORKSPACE, LABEL_WORKSPACE_NAMESPACE, WORKSPACE_UID_ANNOTATION


class ClaimTie(Enum):
    """How a NodeClaim stands to a Workspace."""

    OWN = "own"  # made for this Workspace, or by an upstream KAITO that writes no uid
    FORMER = "former"  # made for a deleted Workspace of the same name
    LATER = "later"  # made for a Workspace that is newer than our view of it: never touched
    FOREIGN = "foreign"  # another Workspace's, or nobody's


def tie_of_claim(claim: ObjectMeta, root: ObjectRef, root_uid: str, root_created: str) -> ClaimTie:
    """How the claim stands to the root. `root_created`: the root's creationTimestamp.

    A claim with another uid belongs to a former Workspace only if it is older than ours; a younger one shows that our
    view of the Workspace is stale, and touching it would destroy the new Workspace's node.
    """
    pair = (claim.label(LABEL_WORKSPACE), claim.label(LABEL_WORKSPACE_NAMESPACE))
    if pair != (root.name, root.namespace):
        return ClaimTie.FOREIGN
    uid = claim.annotation(WORKSPACE_UID_ANNOTATION)
    if not uid or uid == root_uid:
        return ClaimTie.OWN
    # RFC 3339 in UTC with whole seconds, as the server writes metav1.Time: the text order is the time order.
    return ClaimTie.FORMER if claim.creation_timestamp < root_created else ClaimTie.LATER


def is_controlled_by(child: ObjectMeta, root_uid: str) -> bool:
    """Whether the child's controller reference names this root."""
    return any(owner.controller and owner.uid == root_uid for owner in child.owner_references)


def is_child(child: ObjectMeta, root_uid: str) -> bool:
    """Whether the namespaced child is this root's: controlled by it, or by nobody and marked with its uid."""
    if any(owner.controller for owner in child.owner_references):
        return is_controlled_by(child, root_uid)
    return child.annotation(WORKSPACE_UID_ANNOTATION) == root_uid


def controller_reference(kind: ResourceKind, name: str, uid: str) -> Json:
    """The ownerReference that lets the server collect the child when the root is gone."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_own(desired: Json, live: Json) -> bool:
    """Whether the live object that took the desired one's name is the desired child itself, for `AlreadyExists`.

    A NodeClaim is when it has the same label pair and Workspace uid; another child when the desired one's controller
    controls it, or nobody does and it carries the Workspace's uid.
    """
    wanted, seen = desired["metadata"], live["metadata"]
    has_same_uid = bool(_uid(wanted)) and _uid(wanted) == _uid(seen)
    if controller := _controller_uid(wanted):
        return controller == _controller_uid(seen) or (not _controller_uid(seen) and has_same_uid)
    pair = (LABEL_WORKSPACE, LABEL_WORKSPACE_NAMESPACE)
    return has_same_uid and all(_entry(wanted, "labels", key) == _entry(seen, "labels", key) for key in pair)


def _controller_uid(metadata: Json) -> str:
    owners = metadata.get("ownerReferences") or ()
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("controller")), "")


def _uid(metadata: Json) -> str:
    return _entry(metadata, "annotations", WORKSPACE_UID_ANNOTATION) or ""


def _entry(metadata: Json, field: str, key: str) -> str | None:
    value: str | None = (metadata.get(field) or {}).get(key)
    return value
