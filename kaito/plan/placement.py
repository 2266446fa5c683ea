"""Where inference pods may run: the taints they tolerate and the labels they insist on, for pods and gates alike."""

from __future__ import annotations

from collections.abc import Mapping

from kaito.api.core import Taint
from kaito.api.meta import Json

GPU_RESOURCE = "nvidia.com/gpu"
GPU: Json = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
SKU: Json = {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}
SPOT: Json = {
    "key": "kubernetes.azure.com/scalesetpriority",
    "operator": "Equal",
    "value": "spot",
    "effect": "NoSchedule",
}
SKU_TAINT: Json = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}  # on every node that we ask for


def tolerations(cloud_provider: str, gpu_resource: str = GPU_RESOURCE) -> list[Json]:
    """What inference pods tolerate on this cloud, with these devices."""
    common = [GPU, SKU, SPOT] if cloud_provider == "azure" else [GPU, SKU]
    if gpu_resource == GPU_RESOURCE:
        return common
    return [*common, {"key": gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]


def is_tolerated(taint: Taint, cloud_provider: str, gpu_resource: str = GPU_RESOURCE) -> bool:
    """Whether our pods tolerate the taint."""
    return any(_matches(toleration, taint) for toleration in tolerations(cloud_provider, gpu_resource))


def _matches(toleration: Json, taint: Taint) -> bool:
    if toleration["key"] != taint.key or toleration["effect"] != taint.effect:
        return False
    return bool(toleration["operator"] == "Exists" or toleration["value"] == taint.value)


def node_affinity(pins: Mapping[str, str]) -> Json:
    """Required node affinity to all of these labels; empty where there are none."""
    if not pins:
        return {}
    expressions = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(pins.items())]
    terms = [{"matchExpressions": expressions}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
