"""Partial core/v1 kinds: only the fields that gates, planner and robots read."""

from __future__ import annotations

import msgspec

from kaito.api.meta import Condition, ObjectMeta, ObjectRef, ResourceKind, Whole

NODE = ResourceKind("", "v1", "Node", "nodes", False)
POD = ResourceKind("", "v1", "Pod", "pods", True)
SERVICE = ResourceKind("", "v1", "Service", "services", True)
CONFIG_MAP = ResourceKind("", "v1", "ConfigMap", "configmaps", True)
SECRET = ResourceKind("", "v1", "Secret", "secrets", True)
PERSISTENT_VOLUME_CLAIM = ResourceKind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True)
EVENT = ResourceKind("", "v1", "Event", "events", True)
NAMESPACE = ResourceKind("", "v1", "Namespace", "namespaces", False)
ENDPOINTS = ResourceKind("", "v1", "Endpoints", "endpoints", True)
CUSTOM_RESOURCE_DEFINITION = ResourceKind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
STORAGE_CLASS = ResourceKind("storage.k8s.io", "v1", "StorageClass", "storageclasses", False)
LEASE = ResourceKind("coordination.k8s.io", "v1", "Lease", "leases", True)


def definition_of(kind: ResourceKind) -> ObjectRef:
    """The CustomResourceDefinition of a custom kind."""
    return CUSTOM_RESOURCE_DEFINITION.ref("", f"{kind.plural}.{kind.group}")


class Taint(msgspec.Struct, frozen=True, gc=False):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    provider_id: str = msgspec.field(name="providerID", default="")
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeSystemInfo(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kubelet_version: str = ""  # v1.36.0
    container_runtime_version: str = ""  # containerd://2.2.1


class NodeStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`capacity` and `allocatable` are quantity strings by resource name."""

    conditions: tuple[Condition, ...] = ()
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ContainerStateWaiting(msgspec.Struct, frozen=True, gc=False):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    started_at: str | None = None


class ContainerStateTerminated(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: str | None = None


class ContainerState(msgspec.Struct, frozen=True, gc=False):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_name: str = ""


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Service(Whole, frozen=True, gc=False):
    """`spec` is kept whole: the planner compares it with what it wants."""


class ConfigMap(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] = {}


class PersistentVolumeClaimStatus(msgspec.Struct, frozen=True, gc=False):
    capacity: dict[str, str | int] = {}


class PersistentVolumeClaim(msgspec.Struct, frozen=True, gc=False):
    """Only what was given, and to whom."""

    metadata: ObjectMeta = ObjectMeta()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class StorageClass(msgspec.Struct, frozen=True, gc=False):
    """Only whether it exists matters."""

    metadata: ObjectMeta = ObjectMeta()


class CrdNames(msgspec.Struct, frozen=True, gc=False):
    kind: str = ""
    plural: str = ""


class CrdVersion(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    served: bool = False


class CrdSpec(msgspec.Struct, frozen=True, gc=False):
    group: str = ""
    names: CrdNames = CrdNames()
    versions: tuple[CrdVersion, ...] = ()


class CrdStatus(msgspec.Struct, frozen=True, gc=False):
    conditions: tuple[Condition, ...] = ()


class CustomResourceDefinition(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: CrdSpec = CrdSpec()
    status: CrdStatus = CrdStatus()
