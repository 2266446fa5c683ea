"""The NodeClaim that asks for one machine (karpenter.sh/v1), in the shape that upstream's provisioners expect."""

from __future__ import annotations

from collections.abc import Mapping

from kaito.api.meta import Json
from kaito.api.names import (
    LABEL_INSTANCE_TYPE,
    LABEL_NODE_POOL,
    NODE_IMAGE_FAMILY_ANNOTATION,
    WORKSPACE_UID_ANNOTATION,
    is_reserved_label,
)
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.plan.placement import SKU_TAINT

NODEPOOL = (
    "kaito"  # no such NodePool exists: gpu-provisioner wants the label, and Karpenter then leaves the claim alone
)

NODE_CLASS_REFS: dict[str, Json] = {
    "azure": {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"},
    "aws": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
    "arc": {"group": "", "kind": "", "name": "default"},
}


def node_claim(
    name: str,
    pins: Mapping[str, str],
    *,
    root_uid: str,
    instance_type: str,
    match_labels: Mapping[str, str],
    cloud_provider: str,
    node_image_family: str,
    storage_gib: int,
) -> Json:
    """The body of one claim. `pins` name the root; `storage_gib` is the disk for the model's files."""
    labels = {key: value for key, value in sorted(match_labels.items()) if not is_reserved_label(key)}
    return {
        "apiVersion": NODE_CLAIM.api_version,
        "kind": NODE_CLAIM.kind,
        "metadata": {
            "name": name,
            "labels": labels | {LABEL_NODE_POOL: NODEPOOL, **pins},
            "annotations": {
                "karpenter.sh/do-not-disrupt": "true",
                NODE_IMAGE_FAMILY_ANNOTATION: node_image_family,
                WORKSPACE_UID_ANNOTATION: root_uid,
            },
        },
        "spec": {
            "nodeClassRef": dict(NODE_CLASS_REFS[cloud_provider]),
            "taints": [dict(SKU_TAINT)],
            "requirements": _requirements(instance_type, cloud_provider),
            "resources": {"requests": {"storage": f"{storage_gib}Gi"}},
        },
    }


def _requirements(instance_type: str, cloud_provider: str) -> list[Json]:
    common = [
        _is_in(LABEL_NODE_POOL, NODEPOOL),
        _is_in(LABEL_INSTANCE_TYPE, instance_type),
        _is_in("kubernetes.io/os", "linux"),
    ]
    match cloud_provider:
        case "azure":
            return [*common, _is_in("karpenter.azure.com/sku-name", instance_type)]
        case "aws":
            return [*common, {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "Gt", "values": ["0"]}]
        case _:
            return common


def _is_in(key: str, value: str) -> Json:
    return {"key": key, "operator": "In", "values": [value]}
