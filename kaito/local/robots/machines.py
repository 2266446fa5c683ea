"""What a machine of an instance type offers: the part of a cloud's price list that nodes show."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.plan.catalog import find_sku_anywhere

CPU_PER_GPU = 24
MEMORY_GIB_PER_GPU = 220
STORAGE_GIB = 1_024
PODS_MAX = 110


@dataclass(frozen=True, slots=True)
class Machine:
    """`gpu_resource` is empty where the instance type has no device that a plugin offers."""

    instance_type: str
    gpus: int
    gpu_model: str
    gpu_resource: str
    gpu_memory_gib: int  # of one GPU

    def capacity(self, *, gpus: int | None = None) -> Json:
        """Quantities by resource name; without `gpus`, no device plugin has registered yet."""
        scale = max(1, self.gpus)
        resources = {
            "cpu": str(CPU_PER_GPU * scale),
            "memory": f"{MEMORY_GIB_PER_GPU * scale}Gi",
            "ephemeral-storage": f"{STORAGE_GIB}Gi",
            "pods": str(PODS_MAX),
        }
        return resources | ({self.gpu_resource: str(gpus)} if gpus is not None and self.gpu_resource else {})

    @property
    def accelerator_labels(self) -> dict[str, str]:
        """What GPU feature discovery puts on the node."""
        if self.gpu_resource != "nvidia.com/gpu":
            return {}
        return {
            "accelerator": "nvidia",
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": self.gpu_model.replace(" ", "-"),
            "nvidia.com/gpu.count": str(self.gpus),
            "nvidia.com/gpu.memory": str(self.gpu_memory_gib * 1_024),
        }


def requested_type(claim: Json) -> str:
    """The instance type that a NodeClaim's requirements name; empty when they leave it open."""
    for requirement in (claim.get("spec") or {}).get("requirements") or []:
        if requirement.get("key") == "node.kubernetes.io/instance-type" and requirement.get("operator") == "In":
            return str(next(iter(requirement.get("values") or []), ""))
    return ""


# Instance types without accelerators, for what needs none: told by the family in the name.
AZURE_CPU_TYPE = re.compile(r"standard_[abdef][a-z]*(\d+)[a-z-]*\d*[a-z]*(_v\d+)?", re.IGNORECASE)
AWS_CPU_TYPE = re.compile(r"[cmrt]\d[a-z]*\.(\d*)(x?)large", re.IGNORECASE)


def find_machine(instance_type: str) -> Machine | None:
    """The machine of an instance type, of whatever cloud; None where nothing is known of it."""
    if sku := find_sku_anywhere(instance_type):
        return Machine(sku.name, sku.gpus, sku.model, sku.resource, sku.memory_gib // sku.gpus)
    if AZURE_CPU_TYPE.fullmatch(instance_type) or AWS_CPU_TYPE.fullmatch(instance_type):
        return Machine(instance_type, 0, "", "", 0)
    return None
