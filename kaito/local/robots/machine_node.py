"""The Node that a machine of ours becomes when it joins."""

from __future__ import annotations

from kaito.api.core import NODE
from kaito.api.meta import Json
from kaito.api.names import LABEL_LENGTH_MAX, bounded_name
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.local.robots.machines import Machine

CLAIM_ANNOTATION = "local.kaito.sh/node-claim"
GPUS_ANNOTATION = "local.kaito.sh/gpus"  # what the machine has, before a device plugin says so: "nvidia.com/gpu=8"
PROVIDER_PREFIX = "kaito-local:///"
CLAIM_NAME_MAX = LABEL_LENGTH_MAX - len("aks--00000000-vmss000000")  # the node's name is also its hostname label

UNREGISTERED_TAINT: Json = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}
NOT_READY_TAINT: Json = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
STARTUP_TAINT: Json = {"key": "local.kaito.sh/starting", "effect": "NoSchedule"}


def node_name(claim: Json) -> str:
    """The name of a claim's node: the pool and the claim, as AKS names its machines."""
    return f"aks-{bounded_name(claim['metadata']['name'], CLAIM_NAME_MAX)}-00000000-vmss000000"


def machine_node(claim: Json, machine: Machine, *, instance_type: str) -> Json:
    """The Node as the kubelet registers it: not ready, with the claim's labels and taints, and no devices yet."""
    meta, name = claim["metadata"], node_name(claim)
    taints = [*(claim["spec"].get("taints") or []), *(claim["spec"].get("startupTaints") or [])]
    return {
        "apiVersion": NODE.api_version,
        "kind": NODE.kind,
        "metadata": {
            "name": name,
            "labels": (meta.get("labels") or {}) | _labels(name, instance_type) | machine.accelerator_labels,
            "annotations": {
                CLAIM_ANNOTATION: meta["name"],
                GPUS_ANNOTATION: f"{machine.gpu_resource}={machine.gpus}" if machine.gpus else "",
            },
            "ownerReferences": [
                {
                    "apiVersion": NODE_CLAIM.api_version,
                    "kind": NODE_CLAIM.kind,
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "providerID": f"{PROVIDER_PREFIX}{meta['name']}",
            "taints": [dict(UNREGISTERED_TAINT), dict(NOT_READY_TAINT), dict(STARTUP_TAINT), *taints],
        },
        "status": {"capacity": machine.capacity(), "allocatable": machine.capacity()},
    }


def _labels(name: str, instance_type: str) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/region": "local",
        "topology.kubernetes.io/zone": "local-1",
    }


def is_ours(node: Json) -> bool:
    """Whether the node is a machine of the local cluster, to be driven by the robots."""
    return str(node["spec"].get("providerID") or "").startswith(PROVIDER_PREFIX)


def devices(node: Json) -> tuple[str, int]:
    """The resource name and the number of the machine's devices; ("", 0) where it has none."""
    text = (node["metadata"].get("annotations") or {}).get(GPUS_ANNOTATION) or ""
    resource, _, count = text.partition("=")
    return (resource, int(count)) if resource else ("", 0)
