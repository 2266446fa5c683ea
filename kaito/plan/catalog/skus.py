"""The instance types with accelerators of each cloud. Totals are GiB per node; add a row to add a type."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache

CLOUDS = ("azure", "aws", "arc")
NVIDIA_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Sku:
    """One instance type. `compute_capability` is empty where there is no CUDA; `resource` is what pods request."""

    name: str
    gpus: int
    memory_gib: int  # of all GPUs of the node together
    model: str
    compute_capability: str = ""
    has_nvme: bool = False
    resource: str = NVIDIA_GPU


A10, A100, H100, H200 = "NVIDIA A10", "NVIDIA A100", "NVIDIA H100", "NVIDIA H200"
L4, A10G, A2, A16 = "NVIDIA L4", "NVIDIA A10G", "NVIDIA A2", "NVIDIA A16"
V620, V520 = "AMD Radeon PRO V620", "AMD Radeon Pro V520"
TRAINIUM, INFERENTIA2 = "AWS Trainium", "AWS Inferentia2"
CAPABILITY = {A10: "8.6", A100: "8.0", H100: "9.0", H200: "9.0", L4: "8.9", A10G: "8.6", A2: "8.6", A16: "8.6"}
RESOURCE = {
    V620: "amd.com/gpu",
    V520: "amd.com/gpu",
    TRAINIUM: "aws.amazon.com/neuron",
    INFERENTIA2: "aws.amazon.com/neuron",
}

# Row: names (space-separated), GPUs, GiB per node, model, local NVMe.
Row = tuple[str, int, int, str, bool]
AZURE: tuple[Row, ...] = (
    ("Standard_NV36ads_A10_v5", 1, 24, A10, False),
    ("Standard_NV72ads_A10_v5", 2, 48, A10, False),
    ("Standard_NC24ads_A100_v4", 1, 80, A100, True),
    ("Standard_NC48ads_A100_v4", 2, 160, A100, True),
    ("Standard_NC96ads_A100_v4", 4, 320, A100, True),
    ("Standard_ND96asr_A100_v4", 8, 320, A100, False),
    ("Standard_ND96amsr_A100_v4", 8, 640, A100, True),
    ("Standard_NC40ads_H100_v5", 1, 94, H100, True),
    ("Standard_NC80adis_H100_v5", 2, 188, H100, True),
    ("Standard_ND96isr_H100_v5", 8, 640, H100, True),
    ("Standard_NCC40ads_H100_v5", 1, 94, H100, False),
    ("Standard_ND96isr_H200_v5", 8, 1128, H200, True),
    ("Standard_NG32ads_V620_v1 Standard_NG32adms_V620_v1", 1, 32, V620, False),
)
AWS: tuple[Row, ...] = (
    ("p4d.24xlarge", 8, 320, A100, True),
    ("p4de.24xlarge", 8, 640, A100, True),
    ("p5.48xlarge", 8, 640, H100, True),
    ("p5e.48xlarge p5en.48xlarge", 8, 1128, H200, True),
    ("g6.xlarge g6.2xlarge g6.4xlarge g6.8xlarge g6.16xlarge gr6.4xlarge gr6.8xlarge", 1, 24, L4, True),
    ("g6.12xlarge g6.24xlarge", 4, 96, L4, True),
    ("g6.48xlarge", 8, 192, L4, True),
    ("g5.xlarge g5.2xlarge g5.4xlarge g5.8xlarge g5.16xlarge", 1, 24, A10G, True),
    ("g5.12xlarge g5.24xlarge", 4, 96, A10G, True),
    ("g5.48xlarge", 8, 192, A10G, True),
    ("g4ad.xlarge g4ad.2xlarge g4ad.4xlarge", 1, 8, V520, True),
    ("g4ad.8xlarge", 2, 16, V520, True),
    ("g4ad.16xlarge", 4, 32, V520, True),
    ("trn1.2xlarge", 1, 32, TRAINIUM, True),
    ("trn1.32xlarge trn1n.32xlarge", 16, 512, TRAINIUM, True),
    ("inf2.xlarge inf2.8xlarge", 1, 32, INFERENTIA2, False),
    ("inf2.24xlarge", 6, 192, INFERENTIA2, False),
    ("inf2.48xlarge", 12, 384, INFERENTIA2, False),
)
ARC: tuple[Row, ...] = (
    ("Standard_NC4_A2 Standard_NC8_A2", 1, 16, A2, False),
    ("Standard_NC16_A2 Standard_NC32_A2", 2, 32, A2, False),
    ("Standard_NC4_A16 Standard_NC8_A16", 1, 16, A16, False),
    ("Standard_NC16_A16 Standard_NC32_A16", 2, 32, A16, False),
)
TABLES = {"azure": AZURE, "aws": AWS, "arc": ARC}


@cache
def skus(cloud: str) -> dict[str, Sku]:
    """The cloud's instance types by lower-case name, in the table's order. Raises KeyError for an unknown cloud."""
    return {
        name.lower(): Sku(name, gpus, gib, model, CAPABILITY.get(model, ""), nvme, RESOURCE.get(model, NVIDIA_GPU))
        for names, gpus, gib, model, nvme in TABLES[cloud]
        for name in names.split()
    }


def find_sku(cloud: str, name: str) -> Sku | None:
    """The instance type of this name, whatever its case; None where the cloud's table has none."""
    return skus(cloud).get(name.lower())


def find_sku_anywhere(name: str) -> Sku | None:
    """The instance type of this name in the first cloud that knows it."""
    return next((sku for cloud in CLOUDS if (sku := find_sku(cloud, name))), None)


def similar_skus(cloud: str, name: str) -> tuple[str, ...]:
    """Names that the user may have meant, the most alike first; at most three."""
    known = skus(cloud)
    return tuple(known[key].name for key in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6))
