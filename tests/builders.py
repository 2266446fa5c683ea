"""Builders of Kubernetes objects as JSON, and `World`: a small in-memory ClusterView over such objects.

Every builder returns the object as the API server would send it, so that a test that needs a typed value decodes it the
way the watch streams do (`decode`). Times are RFC 3339 strings counted in seconds from `START`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from kaito.api.core import CONFIG_MAP, NODE, SERVICE, ConfigMap, Node, Pod, Service, StorageClass
from kaito.api.meta import Json, ObjectRef, ResourceKind, from_json
from kaito.api.names import CLAIM_LABELS, POOL_LABELS
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.api.nodepool import NODE_POOL, NodePool
from kaito.api.workloads import (
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
from kaito.api.workspace import Workspace
from kaito.clock import rfc3339
from kaito.state.kinds import KINDS
from kaito.state.view import Answer, ServerCapabilities

START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
GPU = "nvidia.com/gpu"
SKU = "Standard_NC24ads_A100_v4"
DECODERS = {row.kind.kind: row.decode for row in KINDS if row.decode}
MODELS: dict[str, Any] = {
    "Job": Job,
    "NodePool": NodePool,
    "NodeClaim": NodeClaim,
    "Node": Node,
    "Pod": Pod,
    "Service": Service,
    "ConfigMap": ConfigMap,
    "StatefulSet": StatefulSet,
    "Deployment": Deployment,
    "ControllerRevision": ControllerRevision,
    "PodDisruptionBudget": PodDisruptionBudget,
    "StorageClass": StorageClass,
}


def moment(seconds: float = 0) -> datetime:
    """`seconds` after START."""
    return START + timedelta(seconds=seconds)


def at(seconds: float = 0) -> str:
    """`seconds` after START, as metav1.Time."""
    return rfc3339(moment(seconds))


def metadata(name: str, namespace: str = "", **more: Any) -> Json:
    """Metadata with a uid derived from kind-free identity; `more` overrides (camelCase keys, None removes)."""
    base = {
        "name": name,
        "uid": f"uid-{namespace}-{name}" if namespace else f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": at(0),
    } | ({"namespace": namespace} if namespace else {})
    return {key: value for key, value in (base | more).items() if value is not None}


def workspace(
    name: str = "phi",
    namespace: str = "default",
    *,
    preset: str | None = "phi-3.5-mini-instruct",
    instance_type: str | None = SKU,
    match_labels: Mapping[str, str] | None = None,
    count: int | None = None,
    template: Json | None = None,
    config: str | None = None,
    target: int | None = None,
    status: Json | None = None,
    finalizer: bool = True,
    resource: Json | None = None,
    inference: Json | None = None,
    **meta: Any,
) -> Json:
    """A Workspace with inference. `target` sets status.targetNodeCount; `finalizer=False`: never reconciled yet."""
    body: Json = {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": metadata(
            name, namespace, **({"finalizers": ["workspace.finalizer.kaito.sh"]} if finalizer else {}) | meta
        ),
        "resource": {"labelSelector": {"matchLabels": dict(match_labels or {"apps": name})}},
        "inference": {},
    }
    if instance_type:
        body["resource"]["instanceType"] = instance_type
    if count is not None:
        body["resource"]["count"] = count
    if preset:
        body["inference"]["preset"] = {"name": preset}
    if template is not None:
        body["inference"]["template"] = deepcopy(template)
    if config:
        body["inference"]["config"] = config
    body["resource"] |= resource or {}
    body["inference"] |= inference or {}
    if status is not None or target is not None:
        body["status"] = dict(status or {}) | ({"targetNodeCount": target} if target is not None else {})
    return body


def ragengine(
    name: str = "rag", namespace: str = "default", *, spec: Json | None = None, status: Json | None = None, **meta: Any
) -> Json:
    """A RAGEngine with a local embedding model and no machine of its own; `spec` adds to that."""
    body: Json = {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "RAGEngine",
        "metadata": metadata(name, namespace, **{"finalizers": ["ragengine.finalizer.kaito.sh"]} | meta),
        "spec": {"embedding": {"local": {"modelID": "BAAI/bge-small-en-v1.5"}}} | (spec or {}),
    }
    return body | ({"status": status} if status is not None else {})


def condition(type_: str, status: str = "True", reason: str = "", message: str = "", since: float = 0) -> Json:
    """One condition; the reason defaults to the type, as Karpenter writes it."""
    return {
        "type": type_,
        "status": status,
        "reason": reason or type_,
        "message": message,
        "lastTransitionTime": at(since),
    }


def node_claim(
    name: str,
    *,
    owner: str = "phi",
    namespace: str = "default",
    owner_uid: str | None = "uid-default-phi",
    node: str = "",
    instance_type: str = SKU,
    conditions: Iterable[Json] | None = None,
    match_labels: Mapping[str, str] | None = None,
    **meta: Any,
) -> Json:
    """A NodeClaim with the label pair of `owner`. With `node` it is launched, registered, initialised and ready."""
    labels = {
        "karpenter.sh/nodepool": "kaito",
        "kaito.sh/workspace": owner,
        "kaito.sh/workspacenamespace": namespace,
    } | dict(match_labels or {"apps": owner})
    annotations = {"kaito.sh/workspace-uid": owner_uid} if owner_uid else None
    body: Json = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": metadata(name, **({"labels": labels, "annotations": annotations} | meta)),
        "spec": {
            "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [instance_type]}]
        },
    }
    if conditions is None and node:
        conditions = [condition(type_) for type_ in ("Launched", "Registered", "Initialized", "Ready")]
    status: Json = {"conditions": list(conditions)} if conditions is not None else {}
    if node:
        status |= {"nodeName": node, "providerID": f"kaito://{node}"}
    if status:
        body["status"] = status
    return body


def node(
    name: str,
    *,
    gpus: int | None = 1,
    capacity: int | None = None,
    ready: str = "True",
    instance_type: str = SKU,
    labels: Mapping[str, str] | None = None,
    taints: Iterable[Json] = (),
    conditions: Iterable[Json] | None = None,
    since: float = 0,
    **meta: Any,
) -> Json:
    """A Node. `gpus`: allocatable nvidia.com/gpu (None: the device plugin has never registered)."""
    resources = {"cpu": "24", "memory": "220Gi"}
    allocatable = resources | ({GPU: str(gpus)} if gpus is not None else {})
    total = gpus if capacity is None else capacity
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata(
            name, **({"labels": {"node.kubernetes.io/instance-type": instance_type} | dict(labels or {})} | meta)
        ),
        "spec": {"providerID": f"kaito://{name}", "taints": list(taints)},
        "status": {
            "conditions": list(
                [condition("Ready", ready, "KubeletReady" if ready == "True" else "KubeletNotReady", since=since)]
                if conditions is None
                else conditions
            ),
            "capacity": resources | ({GPU: str(total)} if total is not None else {}),
            "allocatable": allocatable,
        },
    }


def pod(
    name: str = "phi-0",
    namespace: str = "default",
    *,
    owner: str = "phi",
    node: str = "",
    phase: str = "Pending",
    ready: bool = False,
    statuses: Iterable[Json] = (),
    conditions: Iterable[Json] | None = None,
    status: Json | None = None,
    **meta: Any,
) -> Json:
    """A pod of the Workspace `owner`. `ready` makes it scheduled, running and ready."""
    if conditions is None:
        conditions = [condition("PodScheduled", "True" if node else "False", "" if node else "Unschedulable")]
        conditions += [condition("Ready", "True")] if ready else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, namespace, **({"labels": {"kaito.sh/workspace": owner}} | meta)),
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": "Running" if ready else phase,
            "conditions": list(conditions),
            "containerStatuses": list(statuses)
            or ([container_status(owner, ready=True, running=True)] if ready else []),
        }
        | (status or {}),
    }


def container_status(
    name: str = "phi",
    *,
    ready: bool = False,
    running: bool = False,
    waiting: tuple[str, str] | None = None,
    terminated: Json | None = None,
    last: Json | None = None,
    restarts: int = 0,
) -> Json:
    """One container's status; `waiting` is (reason, message), `terminated` and `last` are ContainerStateTerminated."""
    state: Json = {"running": {"startedAt": at(0)}} if running else {}
    if waiting:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    if terminated:
        state = {"terminated": terminated}
    return {
        "name": name,
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "image": "image",
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def owner_reference(owner: str = "phi", namespace: str = "default", uid: str | None = None) -> Json:
    """The controller reference to a Workspace as `workspace()` builds it."""
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "name": owner,
        "uid": uid or f"uid-{namespace}-{owner}",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def stateful_set(
    name: str = "phi",
    namespace: str = "default",
    *,
    spec: Json | None = None,
    replicas: int = 1,
    ready: int = 0,
    **meta: Any,
) -> Json:
    """The StatefulSet of the Workspace of the same name; `spec` replaces the minimal one."""
    labels = {"kaito.sh/workspace": name}
    minimal = {
        "replicas": replicas,
        "serviceName": f"{name}-headless",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": "image"}]}},
    }
    owners = [owner_reference(name, namespace)]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, namespace, **({"ownerReferences": owners} | meta)),
        "spec": deepcopy(spec) if spec is not None else minimal,
        "status": {"observedGeneration": 1, "replicas": replicas, "readyReplicas": ready},
    }


def tuning_workspace(name: str = "phi", *, tuning: Json | None = None, **more: Any) -> Json:
    """A Workspace with tuning: data by URL, the adapter to a volume."""
    body = workspace(name, **more)
    del body["inference"]
    section = {
        "preset": {"name": "phi-3.5-mini-instruct"},
        "method": "lora",
        "input": {"urls": ["https://example.com/train.jsonl"]},
        "output": {"volumeSource": {"persistentVolumeClaim": {"claimName": "adapters"}}},
    }
    section |= tuning or {}
    return body | {"tuning": {key: value for key, value in section.items() if value is not None}}


def job(name: str = "phi", namespace: str = "default", *, conditions: Iterable[Json] = (), **meta: Any) -> Json:
    """The Job of the Workspace of the same name; made for no particular tuning section."""
    owners = [owner_reference(name, namespace)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, namespace, **({"ownerReferences": owners} | meta)),
        "spec": {},
        "status": {"conditions": list(conditions)},
    }


def service(name: str = "phi", namespace: str = "default", *, spec: Json | None = None, **meta: Any) -> Json:
    """A Service controlled by the Workspace of the same name (less a `-headless` suffix)."""
    owners = [owner_reference(name.removesuffix("-headless"), namespace)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace, **({"ownerReferences": owners} | meta)),
        "spec": deepcopy(spec) if spec is not None else {"ports": [{"name": "http", "port": 80, "targetPort": 5000}]},
    }


def config_map(name: str, namespace: str = "default", **files: str) -> Json:
    """A ConfigMap; keyword names become keys, with `__` read as a dot (`inference_config__yaml`)."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, namespace),
        "data": {key.replace("__", "."): text for key, text in files.items()},
    }


def decode(body: Json) -> Any:
    """The typed object that a watch stream would make of this JSON: a Struct, a Workspace or an InvalidObject."""
    if body["kind"] in DECODERS:
        return DECODERS[body["kind"]](deepcopy(body))
    return from_json(body, MODELS[body["kind"]])


def ref_of(body: Json) -> ObjectRef:
    return ObjectRef(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])


class World:
    """A ClusterView over JSON objects held by identity; `put` and `drop` change it, `bodies` shows it."""

    def __init__(self, *bodies: Json, version: tuple[int, int] = (1, 36)) -> None:
        self.bodies: dict[ObjectRef, Json] = {}
        self.capabilities = ServerCapabilities(version)
        self.unsynced: set[ResourceKind] = set()
        self.absent: set[ResourceKind] = set()
        self.leaving: set[ResourceKind] = set()  # their CRDs are being deleted
        self.unsynced_names: set[ObjectRef] = set()
        self.answers: dict[tuple[ObjectRef, str], Answer] = {}
        self.put(*bodies)

    def put(self, *bodies: Json) -> World:
        for body in bodies:
            self.bodies[ref_of(body)] = deepcopy(body)
        return self

    def drop(self, *refs: ObjectRef) -> World:
        for ref in refs:
            self.bodies.pop(ref, None)
        return self

    def body(self, kind: ResourceKind, namespace: str, name: str) -> Json | None:
        return self.bodies.get(kind.ref(namespace, name))

    # ClusterView

    def is_synced(self, kind: ResourceKind) -> bool:
        return kind not in self.unsynced

    def is_absent(self, kind: ResourceKind) -> bool:
        return kind in self.absent

    def is_leaving(self, kind: ResourceKind) -> bool:
        return kind in self.leaving

    def root(self, ref: ObjectRef) -> Any:
        return self._one(ref)

    def roots(self, kind: ResourceKind) -> tuple[Any, ...]:
        return tuple(self._all(kind.kind))

    def claims_of(self, root: ObjectRef) -> tuple[NodeClaim, ...]:
        return tuple(item for item in self._all("NodeClaim") if _has_pair(item, root))

    def claim(self, name: str) -> NodeClaim | None:
        return self._one(NODE_CLAIM.ref("", name))

    def pools_of(self, root: ObjectRef) -> tuple[NodePool, ...]:
        return tuple(item for item in self._all("NodePool") if _has_pair(item, root))

    def pool(self, name: str) -> NodePool | None:
        return self._one(NODE_POOL.ref("", name))

    def node_of(self, claim: NodeClaim) -> Node | None:
        if claim.status.node_name:
            return self._one(NODE.ref("", claim.status.node_name))
        provider_id = claim.status.provider_id
        return next((n for n in self._all("Node") if provider_id and n.spec.provider_id == provider_id), None)

    def nodes_of(self, root: ObjectRef) -> tuple[Node, ...]:
        found = {n.metadata.name: n for n in self._all("Node") if _has_pair(n, root)}
        found |= {n.metadata.name: n for claim in self.claims_of(root) if (n := self.node_of(claim))}
        return tuple(found[name] for name in sorted(found))

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        wanted = match_labels.items()
        return tuple(n for n in self._all("Node") if wanted <= (n.metadata.labels or {}).items())

    def replicas_of(self, inference_set: ObjectRef) -> tuple[Any, ...]:
        found = [item for item in self._all("Workspace") if isinstance(item, Workspace)]
        label = "inferenceset.kaito.sh/created-by"
        return tuple(
            item
            for item in found
            if item.metadata.namespace == inference_set.namespace and item.metadata.label(label) == inference_set.name
        )

    def workspaces_on(self, node: Node) -> tuple[Workspace, ...]:
        labels = (node.metadata.labels or {}).items()
        found = [item for item in self._all("Workspace") if isinstance(item, Workspace)]
        return tuple(item for item in found if item.resource.label_selector.match_labels.items() <= labels)

    def stateful_set(self, root: ObjectRef) -> StatefulSet | None:
        return self._one(STATEFUL_SET.ref(root.namespace, root.name))

    def job(self, root: ObjectRef) -> Job | None:
        return self._one(JOB.ref(root.namespace, root.name))

    def deployment(self, root: ObjectRef) -> Deployment | None:
        return self._one(DEPLOYMENT.ref(root.namespace, root.name))

    def budget(self, root: ObjectRef) -> PodDisruptionBudget | None:
        return self._one(POD_DISRUPTION_BUDGET.ref(root.namespace, root.name))

    def revisions_of(self, root: ObjectRef) -> tuple[ControllerRevision, ...]:
        mine = [
            item
            for item in self._all("ControllerRevision")
            if item.metadata.namespace == root.namespace and item.metadata.label("workspace.kaito.io/name") == root.name
        ]
        return tuple(sorted(mine, key=lambda item: (item.revision, item.metadata.name)))

    def has_storage_class(self, name: str) -> bool:
        return ObjectRef("StorageClass", "", name) in self.bodies

    def service(self, namespace: str, name: str) -> Service | None:
        return self._one(SERVICE.ref(namespace, name))

    def pods_of(self, root: ObjectRef) -> tuple[Pod, ...]:
        mine = [
            item
            for item in self._all("Pod")
            if item.metadata.namespace == root.namespace and item.metadata.label("kaito.sh/workspace") == root.name
        ]
        return tuple(sorted(mine, key=lambda item: (len(item.metadata.name), item.metadata.name)))

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self._one(CONFIG_MAP.ref(namespace, name))

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return kind.ref(namespace, name) not in self.unsynced_names

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return self.answers.get((root, key))

    def _one(self, ref: ObjectRef) -> Any:
        body = self.bodies.get(ref)
        return None if body is None else decode(body)

    def _all(self, kind: str) -> list[Any]:
        return [decode(self.bodies[ref]) for ref in sorted(self.bodies) if ref.kind == kind]


def _has_pair(item: Any, root: ObjectRef) -> bool:
    labels = item.metadata.labels or {}
    pairs = (CLAIM_LABELS[root.kind], POOL_LABELS[root.kind])
    return any((labels.get(name), labels.get(space)) == (root.name, root.namespace) for name, space in pairs)
