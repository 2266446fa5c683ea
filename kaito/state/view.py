"""ClusterView: the questions that planners and gates may ask of the graph. An answer is valid until the next await."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from kaito.api.core import ConfigMap, Node, Pod, Service
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.api.nodeclaim import NodeClaim
from kaito.api.nodepool import NodePool
from kaito.api.workloads import ControllerRevision, Deployment, Job, PodDisruptionBudget, StatefulSet
from kaito.api.workspace import Workspace


@dataclass(frozen=True, slots=True)
class InvalidObject:
    """A root that does not fit its model: what is wrong, per field. It becomes a condition, never an exception."""

    ref: ObjectRef
    uid: str
    resource_version: str
    generation: int
    errors: tuple[str, ...]  # "field: what was expected, what was seen"
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """What the API server understands, from discovery: (major, minor)."""

    version: tuple[int, int] = (1, 36)

    def at_least(self, minor: int) -> bool:
        return self.version >= (1, minor)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a `Read` action: text, or the error that came instead, and when."""

    text: str
    at: datetime
    error: str = ""


class ClusterView(Protocol):
    @property
    def capabilities(self) -> ServerCapabilities: ...

    def is_synced(self, kind: ResourceKind) -> bool:
        """A list of the kind has completed since the operator started (an absent kind is synced and empty)."""
        ...

    def is_absent(self, kind: ResourceKind) -> bool:
        """Discovery succeeded without the kind: its CRD is not installed."""
        ...

    def is_leaving(self, kind: ResourceKind) -> bool:
        """The kind's CRD is being deleted, as an uninstall does: every object of it goes, and none can come."""
        ...

    def root(self, ref: ObjectRef) -> Any | InvalidObject | None:
        """The root object, its Invalid value, or None when it is gone."""
        ...

    def roots(self, kind: ResourceKind) -> tuple[Any | InvalidObject, ...]:
        """All roots of a kind, in (namespace, name) order."""
        ...

    def claims_of(self, root: ObjectRef) -> tuple[NodeClaim, ...]:
        """The NodeClaims that carry the root's label pair, whatever their names, in name order."""
        ...

    def claim(self, name: str) -> NodeClaim | None: ...

    def pools_of(self, root: ObjectRef) -> tuple[NodePool, ...]:
        """The NodePools that carry the root's label pair, in name order."""
        ...

    def pool(self, name: str) -> NodePool | None: ...

    def node_of(self, claim: NodeClaim) -> Node | None:
        """The node that the claim became: by status.nodeName, else by providerID."""
        ...

    def nodes_of(self, root: ObjectRef) -> tuple[Node, ...]:
        """Nodes of the root's claims and nodes that carry its label pair, without duplicates, in name order."""
        ...

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        """All nodes with these labels, in name order."""
        ...

    def replicas_of(self, inference_set: ObjectRef) -> tuple[Workspace | InvalidObject, ...]:
        """The Workspaces that carry the InferenceSet's label, in name order."""
        ...

    def workspaces_on(self, node: Node) -> tuple[Workspace, ...]:
        """The Workspaces whose label selector the node's labels meet, in (namespace, name) order."""
        ...

    def stateful_set(self, root: ObjectRef) -> StatefulSet | None:
        """The StatefulSet of the root's name."""
        ...

    def budget(self, root: ObjectRef) -> PodDisruptionBudget | None:
        """The PodDisruptionBudget of the root's name."""
        ...

    def revisions_of(self, root: ObjectRef) -> tuple[ControllerRevision, ...]:
        """The root's ControllerRevisions, the oldest first."""
        ...

    def has_storage_class(self, name: str) -> bool: ...

    def job(self, root: ObjectRef) -> Job | None:
        """The Job of the root's name."""
        ...

    def deployment(self, root: ObjectRef) -> Deployment | None:
        """The Deployment of the root's name."""
        ...

    def service(self, namespace: str, name: str) -> Service | None: ...

    def pods_of(self, root: ObjectRef) -> tuple[Pod, ...]:
        """Pods in the root's namespace with its workspace label, in ordinal order."""
        ...

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """A ConfigMap that a root references; None when it is not there (`is_synced_ref` tells unknown from absent)."""
        ...

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        """For kinds that are watched by name while referenced: this name has been looked up."""
        ...

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        """The last answer to a `Read` of this root."""
        ...
