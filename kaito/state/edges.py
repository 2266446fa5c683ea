"""How one object points at another, as hashable keys.

An object *points at* keys (`edges`) and is *known by* its own ref and by more keys (`names`); where the two meet there
is an edge. Neither side needs to exist yet, so events may come in any order. Refs of root kinds name roots.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

from kaito.api.core import CONFIG_MAP, NODE, STORAGE_CLASS, Node, Pod
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import ObjectMeta, ObjectRef
from kaito.api.names import (
    CHILD_LABELS,
    CLAIM_LABELS,
    CREATED_BY_INFERENCE_SET_LABEL,
    LOCAL_DISK_CLASS,
    POOL_LABELS,
    REVISION_OF_LABEL,
    is_reserved_label,
)
from kaito.api.nodeclaim import NodeClaim
from kaito.api.nodepool import NodePool
from kaito.api.ragengine import RAGENGINE, RAGEngine
from kaito.api.workloads import Child, ControllerRevision
from kaito.api.workspace import WORKSPACE, ResourceSpec, Workspace
from kaito.state.view import InvalidObject

Key: TypeAlias = Hashable
LOCAL_DISK_CLASS_REF = STORAGE_CLASS.ref("", LOCAL_DISK_CLASS)
NODE_KIND = NODE.kind
LABEL_PAIRS = tuple((kind, *pair) for pairs in (CLAIM_LABELS, POOL_LABELS) for kind, pair in pairs.items())


def provider_key(provider_id: str) -> Key:
    return ("providerID", provider_id)


def label_key(key: str, value: str) -> Key:
    return ("label", key, value)


def by_label_pair(metadata: ObjectMeta) -> tuple[ObjectRef, ...]:
    """The roots that a cluster-scoped object names in pairs of labels."""
    labels = metadata.labels
    if not labels:
        return ()
    return tuple(
        ObjectRef(kind, namespace, name)
        for kind, name_key, namespace_key in LABEL_PAIRS
        if (name := labels.get(name_key)) and (namespace := labels.get(namespace_key))
    )


def by_owner_or_label(metadata: ObjectMeta) -> tuple[ObjectRef, ...]:
    """The root that controls a namespaced object, and those that its labels name; the owner first."""
    found: list[ObjectRef] = []
    for owner in metadata.owner_references:
        if owner.controller and owner.kind in CHILD_LABELS:
            found.append(ObjectRef(owner.kind, metadata.namespace, owner.name))
    if labels := metadata.labels:
        for kind, label in CHILD_LABELS.items():
            if name := labels.get(label):
                ref = ObjectRef(kind, metadata.namespace, name)
                if ref not in found:
                    found.append(ref)
    return tuple(found)


def claim_edges(claim: NodeClaim) -> tuple[Key, ...]:
    node: list[Key] = [NODE.ref("", claim.status.node_name)] if claim.status.node_name else []
    machine: list[Key] = [provider_key(claim.status.provider_id)] if claim.status.provider_id else []
    return (*by_label_pair(claim.metadata), *node, *machine)


def pool_edges(pool: NodePool) -> tuple[Key, ...]:
    return by_label_pair(pool.metadata)


def node_edges(node: Node) -> tuple[Key, ...]:
    return by_label_pair(node.metadata)


def node_names(node: Node) -> tuple[Key, ...]:
    """Its machine and each of its labels: any of them may be what others point at."""
    machine = [provider_key(node.spec.provider_id)] if node.spec.provider_id else []
    labels = [label_key(key, value) for key, value in (node.metadata.labels or {}).items()]
    return (*machine, *labels)


def pod_edges(pod: Pod) -> tuple[Key, ...]:
    roots, node = by_owner_or_label(pod.metadata), pod.spec.node_name
    return (*roots, ObjectRef(NODE_KIND, "", node)) if node else roots


def child_edges(child: Child) -> tuple[Key, ...]:
    """A child also answers to the roots of its own name: a foreign object that holds the name is news too."""
    name, namespace = child.metadata.name.removesuffix("-headless"), child.metadata.namespace
    own = (WORKSPACE.ref(namespace, name), RAGENGINE.ref(namespace, name))
    return tuple(dict.fromkeys((*by_owner_or_label(child.metadata), *own)))


def revision_edges(revision: ControllerRevision) -> tuple[Key, ...]:
    """The Workspace whose spec it holds; revisions of pod templates, which StatefulSets make, are none of ours."""
    name = revision.metadata.label(REVISION_OF_LABEL)
    return (ObjectRef(WORKSPACE.kind, revision.metadata.namespace, name),) if name else ()


def workspace_edges(root: Workspace | InvalidObject) -> tuple[Key, ...]:
    """Its InferenceSet and ConfigMap, the class of local disks, and a label of its selector, which its nodes carry."""
    if isinstance(root, InvalidObject):
        return ()
    section = root.inference or root.tuning
    config: list[Key] = [CONFIG_MAP.ref(root.ref.namespace, section.config)] if section and section.config else []
    parent = root.metadata.labels.get(CREATED_BY_INFERENCE_SET_LABEL) if root.metadata.labels else None
    made_by: list[Key] = [INFERENCE_SET.ref(root.ref.namespace, parent)] if parent else []
    disk = () if root.inference is None or root.inference.preset is None else (LOCAL_DISK_CLASS_REF,)
    return (*made_by, *config, *disk, *(label_key(*pair) for pair in sorted(selector_of(root).items())[:1]))


def selector_of(ws: Workspace) -> dict[str, str]:
    """The labels that the nodes of a Workspace are chosen by."""
    return user_labels(ws.resource)


def user_labels(resource: ResourceSpec) -> dict[str, str]:
    """The labels that nodes are chosen by: the user's, without those that only we may set.

    An In expression of one value is a label too; validation lets no other expression in.
    """
    selector = resource.label_selector
    labels = {e.key: e.values[0] for e in selector.match_expressions if e.operator == "In" and len(e.values) == 1}
    return {k: v for k, v in (labels | selector.match_labels).items() if not is_reserved_label(k)}


def ragengine_edges(root: RAGEngine | InvalidObject) -> tuple[Key, ...]:
    """The ConfigMap of its guardrails, and one label of its selector."""
    if isinstance(root, InvalidObject):
        return ()
    spec = root.spec
    policy = spec.guardrails.config_map_ref if spec.guardrails else None
    config: list[Key] = [CONFIG_MAP.ref(root.ref.namespace, policy.name)] if policy else []
    selector = user_labels(spec.compute) if spec.compute else {}
    return (*config, *(label_key(*pair) for pair in sorted(selector.items())[:1]))


def no_edges(_: Any) -> tuple[Key, ...]:
    return ()
