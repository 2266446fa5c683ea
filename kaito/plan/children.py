"""Desired child against observed child → the one action that it needs, if any."""

from __future__ import annotations

from typing import TypeAlias

from kaito.api.meta import Json, ResourceKind
from kaito.api.names import DESIRED_HASH_ANNOTATION, TUNING_HASH_ANNOTATION, UPSTREAM_REVISION_ANNOTATION
from kaito.api.workloads import JOB, Child
from kaito.plan.actions import Apply, Create, Delete
from kaito.plan.diff import desired_hash, diff, stamped
from kaito.plan.memo import Known
from kaito.plan.ownership import is_child, is_controlled_by

ChildAction: TypeAlias = Create | Apply | Delete
_compared: Known[tuple[Child, str]] = Known()  # uid, hash → what was compared, result


def reconcile_child(
    kind: ResourceKind, desired: Json, observed: Child | None, *, root_uid: str, reason: str
) -> ChildAction | None:
    """Create what is absent, apply what differs; None when converged, being deleted, or not ours to touch.

    The pods of a Job cannot be changed: one that was made for another tuning section goes, and is made anew. Nothing
    else is a reason: training is not thrown away for a new default of the operator's.

    A child that an upstream KAITO made (it carries its revision and not our hash) is left as it is: taking it over
    would restart pods that nobody asked to restart.
    """
    if observed is None:
        return Create(kind, stamped(desired), reason)
    metadata = observed.metadata
    if metadata.deletion_timestamp or not is_child(metadata, root_uid):
        return None
    if kind == JOB:
        made_for, wanted = metadata.annotation(TUNING_HASH_ANNOTATION), desired["metadata"]["annotations"]
        is_same = made_for in (None, wanted[TUNING_HASH_ANNOTATION])
        ref = kind.ref(metadata.namespace, metadata.name)
        return None if is_same else Delete(kind, ref, metadata.uid, "the tuning section has changed")
    seen_hash = metadata.annotation(DESIRED_HASH_ANNOTATION)
    if seen_hash is None and metadata.annotation(UPSTREAM_REVISION_ANNOTATION) is not None:
        return None
    why = "" if is_controlled_by(metadata, root_uid) else "its owner reference is gone"
    why = why or difference(desired, observed)
    return Apply(kind, stamped(desired), metadata.uid, why) if why else None


def difference(desired: Json, observed: Child) -> str:
    """What makes an apply necessary, in words; empty when nothing does."""
    seen_hash, wanted_hash = observed.metadata.annotation(DESIRED_HASH_ANNOTATION), desired_hash(desired)
    if seen_hash != wanted_hash:
        return "what is wanted has changed" if seen_hash else "it does not carry our hash"
    # Frozen, and the very same object: a plan in which the child has not changed need not compare it again.
    key = (observed.metadata.uid, wanted_hash)
    known = _compared.get(key)
    if known is not None and known[0] is observed:
        return known[1]
    changes = diff(_comparable(desired), _as_json(observed))
    found = f"edited by somebody else: {changes[0]}" if changes else ""
    _compared.put(key, (observed, found))
    return found


def _comparable(desired: Json) -> Json:
    """What the typed object can be compared with: it holds owner references in part only; they are judged before."""
    metadata = {key: desired["metadata"].get(key) for key in ("labels", "annotations")}
    return {"metadata": metadata, "spec": desired["spec"]}


def _as_json(observed: Child) -> Json:
    metadata = {"labels": observed.metadata.labels, "annotations": observed.metadata.annotations}
    return {"metadata": metadata, "spec": observed.spec}
