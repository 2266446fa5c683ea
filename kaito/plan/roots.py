"""RootMeta: what every plan needs of a root, whether it fits its model or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kaito.api.meta import Json, ObjectMeta, ObjectRef, ResourceKind
from kaito.api.names import FINALIZERS
from kaito.api.workspace import WORKSPACE
from kaito.plan.stock import Claimant
from kaito.state.view import InvalidObject

__all__ = ["WORKSPACE", "Root", "RootMeta", "root_meta"]


class Root(Protocol):
    """A root that fits its model: a Workspace, or another kind with metadata and status."""

    @property
    def ref(self) -> ObjectRef: ...

    @property
    def metadata(self) -> ObjectMeta: ...

    @property
    def status(self) -> Json: ...


@dataclass(frozen=True, slots=True)
class RootMeta:
    """Identity, preconditions and last written status of a root."""

    kind: ResourceKind
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

    @property
    def finalizer(self) -> str:
        """Ours: while it is there, the root's machines are not forgotten."""
        return FINALIZERS[self.kind.kind]

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.ref, self.uid, self.created)


def root_meta(root: Root | InvalidObject, kind: ResourceKind = WORKSPACE) -> RootMeta:
    """From the model, or from the raw object that does not fit it: deletion and conditions must work all the same."""
    if isinstance(root, InvalidObject):
        return _of_raw(root, kind)
    metadata = root.metadata
    return RootMeta(
        kind,
        root.ref,
        metadata.uid,
        metadata.resource_version,
        metadata.generation,
        metadata.creation_timestamp or "",
        metadata.deletion_timestamp,
        tuple(metadata.finalizers),
        metadata.labels or {},
        metadata.annotations or {},
        root.status,
    )


def _of_raw(root: InvalidObject, kind: ResourceKind) -> RootMeta:
    metadata = root.raw.get("metadata") or {}
    status = root.raw.get("status")
    return RootMeta(
        kind,
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
