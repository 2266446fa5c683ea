"""RootMeta: what every plan needs of a root, whether it fits its model or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaito.api.meta import Json, ObjectRef
from kaito.api.workspace import WORKSPACE, Workspace
from kaito.state.view import InvalidObject

__all__ = ["WORKSPACE", "RootMeta", "root_meta"]


@dataclass(frozen=True, slots=True)
class RootMeta:
    """Identity, preconditions and last written status of a root."""

    ref: ObjectRef
    uid: str
    resource_version: str
    generation: int
    created: str
    deleting_since: str | None
    finalizers: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    status: Json = field(default_factory=dict)


def root_meta(root: Workspace | InvalidObject) -> RootMeta:
    """From the model, or from the raw object that does not fit it: deletion and conditions must work all the same."""
    if isinstance(root, InvalidObject):
        return _of_raw(root)
    metadata = root.metadata
    return RootMeta(
        root.ref,
        metadata.uid,
        metadata.resource_version,
        metadata.generation,
        metadata.creation_timestamp or "",
        metadata.deletion_timestamp,
        tuple(metadata.finalizers),
        metadata.labels or {},
        metadata.annotations or {},
        dict(root.status),
    )


def _of_raw(root: InvalidObject) -> RootMeta:
    metadata = root.raw.get("metadata") or {}
    status = root.raw.get("status")
    return RootMeta(
        root.ref,
        root.uid,
        root.resource_version,
        root.generation,
        str(metadata.get("creationTimestamp") or ""),
        metadata.get("deletionTimestamp"),
        tuple(metadata.get("finalizers") or ()),
        metadata.get("labels") or {},
        metadata.get("annotations") or {},
        status if isinstance(status, dict) else {},
    )
