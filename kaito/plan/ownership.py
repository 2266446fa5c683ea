"""Whose object is it? The one place that answers, for the planner (typed objects) and for the applier (JSON).

Namespaced children carry a controller reference to their root, and the annotation `kaito.sh/workspace-uid`, by which a
child whose owner references were stripped by hand is known again. A NodeClaim or NodePool is cluster scoped and cannot
be owned by a namespaced object (the server never collects such references), so it is tied to its root by a label pair,
whatever its name, and by that annotation, which tells a root from a former one of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from kaito.api.meta import Json, ObjectMeta, ObjectRef, ResourceKind
from kaito.api.names import CLAIM_LABELS, POOL_LABELS, WORKSPACE_UID_ANNOTATION, LabelPair


class Tie(Enum):
    """How a cluster-scoped object stands to a root."""

    OWN = "own"  # made for this root, or by an upstream KAITO that writes no uid
    FORMER = "former"  # made for a deleted root of the same name
    LATER = "later"  # made for a root that is newer than our view of it: never touched
    FOREIGN = "foreign"  # another root's, or nobody's


def tie_of(metadata: ObjectMeta, root: ObjectRef, root_uid: str, root_created: str) -> Tie:
    """How the object stands to the root. `root_created`: the root's creationTimestamp.

    An object with another uid belongs to a former root only if it is older than ours; a younger one shows that our view
    of the root is stale, and touching it would destroy the new root's node.
    """
    if not any(_names(metadata, pair, root) for pair in (CLAIM_LABELS[root.kind], POOL_LABELS[root.kind])):
        return Tie.FOREIGN
    uid = metadata.annotation(WORKSPACE_UID_ANNOTATION)
    if not uid or uid == root_uid:
        return Tie.OWN
    # RFC 3339 in UTC with whole seconds, as the server writes metav1.Time: the text order is the time order.
    return Tie.FORMER if metadata.creation_timestamp < root_created else Tie.LATER


def _names(metadata: ObjectMeta, pair: LabelPair, root: ObjectRef) -> bool:
    return (metadata.label(pair[0]), metadata.label(pair[1])) == (root.name, root.namespace)


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


def child_head(
    kind: ResourceKind,
    root: ObjectRef,
    owner: Json,
    labels: Mapping[str, str],
    *,
    name: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """apiVersion, kind and metadata of a namespaced child, tied to its root both ways. No `name`: the root's."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name or root.name,
            "namespace": root.namespace,
            "labels": dict(labels),
            "annotations": {WORKSPACE_UID_ANNOTATION: owner["uid"], **(annotations or {})},
            "ownerReferences": [owner],
        },
    }


def is_own(desired: Json, live: Json) -> bool:
    """Whether the live object that took the desired one's name is the desired child itself, for `AlreadyExists`.

    A cluster-scoped object is when it has the same label pairs and the same uid of a root; another child when the
    desired one's controller controls it, or nobody does and it carries the root's uid.
    """
    wanted, seen = desired["metadata"], live["metadata"]
    has_same_uid = bool(_uid(wanted)) and _uid(wanted) == _uid(seen)
    if controller := _controller_uid(wanted):
        return controller == _controller_uid(seen) or (not _controller_uid(seen) and has_same_uid)
    pairs = (*CLAIM_LABELS.values(), *POOL_LABELS.values())
    return has_same_uid and all(
        _entry(wanted, "labels", key) == _entry(seen, "labels", key) for pair in pairs for key in pair
    )


def _controller_uid(metadata: Json) -> str:
    owners = metadata.get("ownerReferences") or ()
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("controller")), "")


def _uid(metadata: Json) -> str:
    return _entry(metadata, "annotations", WORKSPACE_UID_ANNOTATION) or ""


def _entry(metadata: Json, field: str, key: str) -> str | None:
    value: str | None = (metadata.get(field) or {}).get(key)
    return value
