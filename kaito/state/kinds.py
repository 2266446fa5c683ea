"""KINDS: one row per watched kind. From a row follow its watcher, store, edges, `synced`, RBAC and metrics label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kaito.api.core import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SERVICE,
    STORAGE_CLASS,
    ConfigMap,
    CustomResourceDefinition,
    Node,
    PersistentVolumeClaim,
    Pod,
    Service,
    StorageClass,
)
from kaito.api.inferenceset import INFERENCE_SET, parse_inference_set
from kaito.api.meta import Json, ResourceKind
from kaito.api.names import LABEL_WORKSPACE, REVISION_OF_LABEL
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.nodepool import NODE_POOL, NodePool
from kaito.api.ragengine import RAGENGINE, parse_ragengine
from kaito.api.workloads import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    JOB,
    POD_DISRUPTION_BUDGET,
    POD_DISRUPTION_BUDGET_BETA,
    STATEFUL_SET,
    ControllerRevision,
    Deployment,
    Job,
    PodDisruptionBudget,
    StatefulSet,
)
from kaito.api.workspace import WORKSPACE, parse_workspace
from kaito.state.edges import (
    Key,
    child_edges,
    claim_edges,
    no_edges,
    node_edges,
    node_names,
    pod_edges,
    pool_edges,
    ragengine_edges,
    revision_edges,
    workspace_edges,
)
from kaito.state.view import InvalidObject

Verb = Literal["get", "list", "watch", "create", "patch", "delete"]
READ: tuple[Verb, ...] = ("get", "list", "watch")
OWN: tuple[Verb, ...] = (*READ, "create", "patch", "delete")


@dataclass(frozen=True, slots=True)
class KindRow:
    """How one kind is watched, decoded and connected.

    `wire` is what a line of the watch is decoded to; `decode` turns that into what the store holds. `by_name`: never
    listed as a whole, each object is watched by its name while a root refers to it. `older`: the version of the
    kind that servers serve which do not know ours yet.
    """

    kind: ResourceKind
    wire: Any
    edges: Callable[[Any], tuple[Key, ...]]
    names: Callable[[Any], tuple[Key, ...]] = no_edges
    decode: Callable[[Any], Any] | None = None
    label_selector: str = ""
    by_name: bool = False
    is_root: bool = False
    verbs: tuple[Verb, ...] = READ
    older: ResourceKind | None = None

    def served_as(self, is_served: Callable[[ResourceKind], bool]) -> ResourceKind | None:
        """The version of the kind in which this server serves it, None where the kind is absent."""
        return next((kind for kind in (self.kind, self.older) if kind is not None and is_served(kind)), None)


def decoder(kind: ResourceKind, parse: Callable[[Json], Any]) -> Callable[[Json], Any]:
    """Decodes a root of ours: the object, or what is wrong with it as a value: one poisoned object stops nothing."""

    def decode(raw: Json) -> Any:
        found = parse(raw)
        if not isinstance(found, tuple):
            return found
        metadata = raw.get("metadata") or {}
        return InvalidObject(
            ref=kind.ref(str(metadata.get("namespace", "")), str(metadata.get("name", ""))),
            uid=str(metadata.get("uid", "")),
            resource_version=str(metadata.get("resourceVersion", "")),
            generation=int(metadata.get("generation") or 0),
            errors=found,
            raw=raw,
        )

    return decode


def root_row(
    kind: ResourceKind,
    parse: Callable[[Json], Any],
    edges: Callable[[Any], tuple[Key, ...]],
    verbs: tuple[Verb, ...] = (*READ, "patch"),
) -> KindRow:
    return KindRow(kind, dict[str, Any], edges, decode=decoder(kind, parse), is_root=True, verbs=verbs)


KINDS: tuple[KindRow, ...] = (
    root_row(WORKSPACE, parse_workspace, workspace_edges, OWN),  # an InferenceSet makes and deletes them
    root_row(INFERENCE_SET, parse_inference_set, no_edges),
    root_row(RAGENGINE, parse_ragengine, ragengine_edges),
    KindRow(NODE_POOL, NodePool, pool_edges, verbs=OWN),
    KindRow(NODE_CLAIM, NodeClaim, claim_edges, verbs=OWN),
    KindRow(NODE, Node, node_edges, node_names),
    KindRow(POD, Pod, pod_edges, label_selector=LABEL_WORKSPACE),
    KindRow(STATEFUL_SET, StatefulSet, child_edges, verbs=OWN),
    KindRow(JOB, Job, child_edges, verbs=OWN),
    KindRow(DEPLOYMENT, Deployment, child_edges, verbs=OWN),
    KindRow(SERVICE, Service, child_edges, verbs=OWN),
    KindRow(
        POD_DISRUPTION_BUDGET,
        PodDisruptionBudget,
        child_edges,
        verbs=OWN,
        label_selector=LABEL_WORKSPACE,
        older=POD_DISRUPTION_BUDGET_BETA,
    ),
    KindRow(CONTROLLER_REVISION, ControllerRevision, revision_edges, verbs=OWN, label_selector=REVISION_OF_LABEL),
    KindRow(STORAGE_CLASS, StorageClass, no_edges),
    KindRow(PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim, no_edges, label_selector=LABEL_WORKSPACE),  # for metrics
    KindRow(CONFIG_MAP, ConfigMap, no_edges, by_name=True),
    KindRow(CUSTOM_RESOURCE_DEFINITION, CustomResourceDefinition, no_edges),
)


def metadata_of(obj: Any) -> tuple[str, str]:
    """uid and resourceVersion of whatever a store holds."""
    if isinstance(obj, InvalidObject):
        return obj.uid, obj.resource_version
    return obj.metadata.uid, obj.metadata.resource_version


def is_leaving(obj: Any) -> bool:
    """Whether what a store holds has a deletionTimestamp."""
    if isinstance(obj, InvalidObject):
        return bool((obj.raw.get("metadata") or {}).get("deletionTimestamp"))
    return obj.metadata.deletion_timestamp is not None
