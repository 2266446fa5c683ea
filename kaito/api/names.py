"""Labels, annotations, finalizers and the deterministic names of children. Compatible with upstream's keys."""

from __future__ import annotations

import hashlib

LABEL_WORKSPACE = "kaito.sh/workspace"
LABEL_WORKSPACE_NAMESPACE = "kaito.sh/workspacenamespace"
LABEL_RAGENGINE = "kaito.sh/ragengine"
LABEL_RAGENGINE_NAMESPACE = "kaito.sh/ragenginenamespace"
LABEL_KARPENTER_WORKSPACE = "karpenter.kaito.sh/workspace-name"
LABEL_KARPENTER_WORKSPACE_NAMESPACE = "karpenter.kaito.sh/workspace-namespace"
LABEL_KARPENTER_RAGENGINE = "karpenter.kaito.sh/ragengine-name"
LABEL_KARPENTER_RAGENGINE_NAMESPACE = "karpenter.kaito.sh/ragengine-namespace"
LABEL_KARPENTER_MANAGED_BY = "karpenter.kaito.sh/managed-by"
LABEL_NODE_POOL = "karpenter.sh/nodepool"
LABEL_INSTANCE_TYPE = "node.kubernetes.io/instance-type"

WORKSPACE_FINALIZER = "workspace.finalizer.kaito.sh"
FINALIZERS = {
    "Workspace": WORKSPACE_FINALIZER,
    "RAGEngine": "ragengine.finalizer.kaito.sh",
    "InferenceSet": "inferenceset.finalizer.kaito.sh",
}

# On what the operator's rights hang on: `kubectl delete -k` asks for all of it at once, and the release needs it last.
UNINSTALL_FINALIZER = "kaito.sh/uninstall"
OPERATOR_NAME = "kaito-operator"  # of its Deployment, its Lease, and all that its rights hang on

WORKSPACE_UID_ANNOTATION = "kaito.sh/workspace-uid"  # the root's, on each child
DESIRED_HASH_ANNOTATION = "kaito.sh/desired-hash"  # on children: which desired body was applied last
MADE_FOR_ANNOTATION = "kaito.sh/made-for"  # on workloads: a hash of what users asked for
MADE_AS_ANNOTATION = "kaito.sh/made-as"  # on workloads: the pod template that was made of it, packed
TUNING_HASH_ANNOTATION = "kaito.sh/tuning-hash"  # on Jobs: of the tuning section that it was made for
UPSTREAM_REVISION_ANNOTATION = "workspace.kaito.io/revision"
NODE_IMAGE_FAMILY_ANNOTATION = "kaito.sh/node-image-family"
NODE_CLASS_NAME_ANNOTATION = "kaito.sh/node-class-name"
PERFORMANCE_MODE_ANNOTATION = "kaito.sh/performance-mode"
USE_LOCAL_WEIGHTS_ANNOTATION = "kaito.sh/use-local-weights"
BYPASS_RESOURCE_CHECKS_ANNOTATION = "kaito.sh/bypass-resource-checks"
ENABLE_LOAD_BALANCER_ANNOTATION = "kaito.sh/enablelb"
INSTANCE_TYPE_FALLBACKS_ANNOTATION = "kaito.sh/instance-type-fallbacks"  # comma-separated, the next best first
CONTAINER_RESOURCES_ANNOTATION = "kaito.sh/container-resources"  # JSON: requests and limits of cpu and memory
DISABLE_BENCHMARK_ANNOTATION = "kaito.sh/disable-benchmark"
SPEC_HASH_ANNOTATION = "workspace.kaito.io/hash"
RUNTIME_ANNOTATION = "kaito.sh/runtime"
# Of upstream's model streaming, which there is none of here.
STREAMING_ANNOTATIONS = (
    "kaito.sh/model-streaming",
    "kaito.sh/model-mirror-storage-class",
    "kaito.sh/streaming-service-account",
    "inference.kaito.sh/static-model-mirror",
    "inference.kaito.sh/stream-datarefs-url",
    "inference.kaito.sh/stream-identity-client-id",
    "inference.kaito.sh/stream-source-type",
)

# Keys that an InferenceSet or MultiRoleInference puts on its Workspaces, and that select their pods.
CREATED_BY_INFERENCE_SET_LABEL = "inferenceset.kaito.sh/created-by"
INHERITED_LABELS = (
    CREATED_BY_INFERENCE_SET_LABEL,
    "multiroleinference.kaito.sh/created-by",
    "kaito.sh/inference-role",
)
LOCAL_DISK_CLASS = "kaito-local-nvme-disk"  # upstream's StorageClass over the machines' own NVMe
UPGRADE_LABEL = "kaito.sh/upgrade-to-version"
UPGRADE_START_ANNOTATION = "kaito.sh/upgrade-start-time"
REVISION_OF_LABEL = "workspace.kaito.io/name"  # on ControllerRevisions

# Root kind → the label pair (name, namespace) by which cluster-scoped objects, which cannot be owned, name their root:
# on NodeClaims that we make ourselves, and on a NodePool with all that Karpenter makes of it.
LabelPair = tuple[str, str]
CLAIM_LABELS: dict[str, LabelPair] = {
    "Workspace": (LABEL_WORKSPACE, LABEL_WORKSPACE_NAMESPACE),
    "RAGEngine": (LABEL_RAGENGINE, LABEL_RAGENGINE_NAMESPACE),
}
POOL_LABELS: dict[str, LabelPair] = {
    "Workspace": (LABEL_KARPENTER_WORKSPACE, LABEL_KARPENTER_WORKSPACE_NAMESPACE),
    "RAGEngine": (LABEL_KARPENTER_RAGENGINE, LABEL_KARPENTER_RAGENGINE_NAMESPACE),
}

# Root kind → the label that names the root on its namespaced children.
CHILD_LABELS: dict[str, str] = {kind: pair[0] for kind, pair in CLAIM_LABELS.items()}

# Keys that only operators set: they are stripped from the labels by which a user selects nodes.
RESERVED_LABELS = frozenset(
    {
        *(key for pairs in (CLAIM_LABELS, POOL_LABELS) for pair in pairs.values() for key in pair),
        "karpenter.kaito.sh/inferenceset",
        "karpenter.kaito.sh/inferenceset-namespace",
    }
)

# A StatefulSet names its pods' revision label `<name>-<10 hex>`, which must fit 63 characters.
WORKSPACE_NAME_LENGTH_MAX = 52
LABEL_LENGTH_MAX = 63
HASH_LENGTH = 10


def is_reserved_label(key: str) -> bool:
    return key in RESERVED_LABELS


def headless_service_name(workspace: str) -> str:
    return f"{workspace}-headless"


def node_claim_name(
    namespace: str, root: str, index: int, *, replaces_uid: str = "", salt: int = 0, kind: str = "Workspace"
) -> str:
    """`ws` and 10 hex digits: fits every provider's `^[a-z][a-z0-9]{0,11}$`.

    The same inputs give the same name, so a stale view cannot multiply nodes. `replaces_uid` is the uid of the claim
    that this one replaces; `salt` counts foreign claims that were found to hold an earlier name; `kind` is the root's.
    """
    parts = [namespace, root, str(index), replaces_uid] + ([str(salt)] if salt else [])
    parts += [kind] if kind != "Workspace" else []
    return "ws" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH_LENGTH]


def replica_name(namespace: str, inference_set: str, index: int, *, replaces_uid: str = "", salt: int = 0) -> str:
    """The name of an InferenceSet's replica, as deterministic as a claim's, and short enough for a Workspace."""
    parts = [namespace, inference_set, str(index), replaces_uid] + ([str(salt)] if salt else [])
    digest = hashlib.sha256("\0".join(["replica", *parts]).encode()).hexdigest()[:5]
    return f"{bounded_name(inference_set, WORKSPACE_NAME_LENGTH_MAX - 6)}-{digest}"


def node_pool_name(namespace: str, root: str, *, salt: int = 0, kind: str = "Workspace") -> str:
    """Upstream's `namespace-name`, cut at 53 characters and hashed where it is longer than a label value may be.

    `a-b/c` and `a/b-c` make the same name, so whoever comes second takes a salted one, always hashed.
    """
    name = f"{namespace}-{root}" if kind == "Workspace" else f"{namespace}-{root}-{kind.lower()}"
    if not salt and len(name) <= LABEL_LENGTH_MAX:
        return name
    digest = hashlib.sha256((f"{namespace}\0{root}\0{kind}\0{salt}" if salt else name).encode()).hexdigest()
    return f"{name[:53]}-{digest[:9]}"


def bounded_name(name: str, length_max: int = LABEL_LENGTH_MAX) -> str:
    """The name, or its beginning and a hash of all of it where it is longer than `length_max`."""
    if len(name) <= length_max:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_LENGTH]
    return f"{name[: length_max - HASH_LENGTH - 1].rstrip('-.')}-{digest}"
