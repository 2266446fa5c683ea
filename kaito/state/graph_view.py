"""GraphView: the ClusterView over a StateGraph. Lookups by index; answers in a stable order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kaito.api.core import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    NODE,
    POD,
    SERVICE,
    STORAGE_CLASS,
    ConfigMap,
    Node,
    Pod,
    Service,
    definition_of,
)
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.nodepool import NODE_POOL, NodePool
from kaito.api.workloads import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    JOB,
    POD_DISRUPTION_BUDGET,
    STATEFUL_SET,
    ControllerRevision,
    Deployment,
    Job,
    PodDisruptionBudget,
    StatefulSet,
)
from kaito.api.workspace import WORKSPACE, Workspace
from kaito.state.edges import label_key, provider_key, selector_of
from kaito.state.graph import StateGraph
from kaito.state.view import Answer, InvalidObject, ServerCapabilities


class GraphView:
    def __init__(self, graph: StateGraph) -> None:
        self._graph = graph

    @property
    def capabilities(self) -> ServerCapabilities:
        return self._graph.capabilities

    def is_synced(self, kind: ResourceKind) -> bool:
        return self._graph.stores[kind].is_synced

    def is_absent(self, kind: ResourceKind) -> bool:
        return kind in self._graph.absent

    def is_leaving(self, kind: ResourceKind) -> bool:
        crd = self._graph.stores[CUSTOM_RESOURCE_DEFINITION].get(definition_of(kind))
        return crd is not None and crd.metadata.deletion_timestamp is not None

    def root(self, ref: ObjectRef) -> Any | InvalidObject | None:
        return self._graph.root(ref)

    def roots(self, kind: ResourceKind) -> tuple[Any | InvalidObject, ...]:
        store = self._graph.stores[kind]
        return tuple(obj for _, obj in sorted(store.items(), key=lambda item: item[0]))

    def claims_of(self, root: ObjectRef) -> tuple[NodeClaim, ...]:
        return self._found(NODE_CLAIM, self._graph.pointers(root, NODE_CLAIM))

    def claim(self, name: str) -> NodeClaim | None:
        return self._graph.stores[NODE_CLAIM].get(NODE_CLAIM.ref("", name))

    def pools_of(self, root: ObjectRef) -> tuple[NodePool, ...]:
        return self._found(NODE_POOL, self._graph.pointers(root, NODE_POOL))

    def pool(self, name: str) -> NodePool | None:
        return self._graph.stores[NODE_POOL].get(NODE_POOL.ref("", name))

    def node_of(self, claim: NodeClaim) -> Node | None:
        nodes = self._graph.stores[NODE]
        if claim.status.node_name:
            return nodes.get(NODE.ref("", claim.status.node_name))
        if claim.status.provider_id:
            holders = self._graph.known.holders(provider_key(claim.status.provider_id))
            return nodes.get(min(holders)) if holders else None
        return None

    def nodes_of(self, root: ObjectRef) -> tuple[Node, ...]:
        labelled = self._graph.pointers(root, NODE)
        claimed = [node for claim in self.claims_of(root) if (node := self.node_of(claim))]
        return self._found(NODE, {*labelled, *(NODE.ref("", node.metadata.name) for node in claimed)})

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        graph = self._graph
        if not match_labels:
            return self._found(NODE, graph.stores[NODE])
        holders = [graph.known.holders(label_key(key, value)) for key, value in match_labels.items()]
        fewest = min(holders, key=len)
        return self._found(NODE, [ref for ref in fewest if all(ref in others for others in holders)])

    def replicas_of(self, inference_set: ObjectRef) -> tuple[Workspace | InvalidObject, ...]:
        return self._found(WORKSPACE, self._graph.pointers(inference_set, WORKSPACE))

    def workspaces_on(self, node: Node) -> tuple[Workspace, ...]:
        labels = node.metadata.labels or {}
        refs = {ref for pair in labels.items() for ref in self._graph.pointers(label_key(*pair), WORKSPACE)}
        found: tuple[Workspace | InvalidObject, ...] = self._found(WORKSPACE, refs)
        return tuple(ws for ws in found if isinstance(ws, Workspace) and selector_of(ws).items() <= labels.items())

    def stateful_set(self, root: ObjectRef) -> StatefulSet | None:
        return self._graph.stores[STATEFUL_SET].get(STATEFUL_SET.ref(root.namespace, root.name))

    def budget(self, root: ObjectRef) -> PodDisruptionBudget | None:
        return self._graph.stores[POD_DISRUPTION_BUDGET].get(POD_DISRUPTION_BUDGET.ref(root.namespace, root.name))

    def revisions_of(self, root: ObjectRef) -> tuple[ControllerRevision, ...]:
        found = self._found(CONTROLLER_REVISION, self._graph.pointers(root, CONTROLLER_REVISION))
        return tuple(sorted(found, key=lambda each: (each.revision, each.metadata.name)))

    def has_storage_class(self, name: str) -> bool:
        return self._graph.stores[STORAGE_CLASS].get(STORAGE_CLASS.ref("", name)) is not None

    def job(self, root: ObjectRef) -> Job | None:
        return self._graph.stores[JOB].get(JOB.ref(root.namespace, root.name))

    def deployment(self, root: ObjectRef) -> Deployment | None:
        return self._graph.stores[DEPLOYMENT].get(DEPLOYMENT.ref(root.namespace, root.name))

    def service(self, namespace: str, name: str) -> Service | None:
        return self._graph.stores[SERVICE].get(SERVICE.ref(namespace, name))

    def pods_of(self, root: ObjectRef) -> tuple[Pod, ...]:
        found: list[Pod] = list(self._found(POD, self._graph.pointers(root, POD)))
        return tuple(sorted(found, key=_ordinal))

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self._graph.stores[CONFIG_MAP].get(CONFIG_MAP.ref(namespace, name))

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return kind.ref(namespace, name) in self._graph.looked_up

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return self._graph.answers.get((root, key))

    def _found(self, kind: ResourceKind, refs: Iterable[ObjectRef]) -> tuple[Any, ...]:
        if not refs:
            return ()
        store = self._graph.stores[kind]
        return tuple(obj for ref in sorted(refs) if (obj := store.get(ref)) is not None)


def _ordinal(pod: Pod) -> tuple[int, str]:
    """StatefulSet pods by number, others after them by name."""
    number = pod.metadata.name.rpartition("-")[2]
    return (int(number) if number.isdecimal() else 1 << 31, pod.metadata.name)
