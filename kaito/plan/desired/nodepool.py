"""The NodePool of static capacity that asks Karpenter for a root's machines (karpenter.sh/v1), in upstream's shape."""

from __future__ import annotations

from collections.abc import Mapping

from kaito.api.meta import Json
from kaito.api.names import (
    LABEL_INSTANCE_TYPE,
    LABEL_KARPENTER_MANAGED_BY,
    WORKSPACE_UID_ANNOTATION,
    is_reserved_label,
)
from kaito.api.nodepool import NODE_POOL
from kaito.plan.placement import SKU_TAINT

NODE_CLASS_REFS: dict[str, Json] = {
    "azure": {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "image-family-ubuntu"},
    "aws": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
    "arc": {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "image-family-ubuntu"},
}


def node_pool(
    name: str,
    pins: Mapping[str, str],
    *,
    root_uid: str,
    replicas: int,
    instance_type: str,
    match_labels: Mapping[str, str],
    cloud_provider: str,
    node_class: str,
    is_replica: bool,
) -> Json:
    """The body of the pool. `pins` name the root; `node_class` is empty for the cloud's default.

    A drifted node goes at once where the Workspace stands alone; that of an InferenceSet's replica waits for the
    controller that goes through the replicas one by one.
    """
    labels = {key: value for key, value in sorted(match_labels.items()) if not is_reserved_label(key)} | dict(pins)
    uid = {WORKSPACE_UID_ANNOTATION: root_uid}
    return {
        "apiVersion": NODE_POOL.api_version,
        "kind": NODE_POOL.kind,
        "metadata": {
            "name": name,
            "labels": {LABEL_KARPENTER_MANAGED_BY: "kaito", **pins},
            "annotations": uid,
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": labels, "annotations": dict(uid)},
                "spec": {
                    "nodeClassRef": NODE_CLASS_REFS[cloud_provider] | ({"name": node_class} if node_class else {}),
                    "requirements": _requirements(instance_type, cloud_provider),
                    "taints": [dict(SKU_TAINT)],
                    # Karpenter's own default, 720h, would take every server down once a month.
                    "expireAfter": "Never",
                },
            },
            "disruption": {
                "consolidateAfter": "0s",
                "budgets": [{"nodes": "0" if is_replica else "1", "reasons": ["Drifted"]}],
            },
        },
    }


def _requirements(instance_type: str, cloud_provider: str) -> list[Json]:
    found = [{"key": LABEL_INSTANCE_TYPE, "operator": "In", "values": [instance_type]}]
    if cloud_provider == "azure":
        found.append({"key": "karpenter.azure.com/placement-scope", "operator": "In", "values": ["regional"]})
    return found
