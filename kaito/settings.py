"""Frozen settings, one class per process or layer; every limit and interval carries its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Provisioner: TypeAlias = Literal["azure-gpu-provisioner", "karpenter", "byo"]

HUB_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What the planners need to know beside the cluster itself."""

    cloud_provider: Literal["azure", "aws", "arc"] = "azure"
    node_provisioner: Provisioner = "azure-gpu-provisioner"
    inference_image: str = "ghcr.io/kaito-project/kaito-py-inference:0.1.0"
    rag_image: str = "ghcr.io/kaito-project/kaito-py-rag:0.1.0"
    karpenter_node_class: str = ""  # the name of the default node class; empty: the cloud's
    karpenter_node_classes: tuple[str, ...] = ()  # those that a Workspace may name; empty: any
    tuning_image: str = "ghcr.io/kaito-project/kaito-py-tuning:0.1.0"
    image_volumes: Literal["auto", "always", "never"] = (
        "auto"  # mount what comes in images; auto: where nodes say they can
    )
    proxy: tuple[tuple[str, str], ...] = ()  # HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the pods
    benchmark: bool = True  # model servers measure themselves after loading, unless their Workspace says no
    node_image_family: str = "ubuntu"
    release_namespace: str = "kaito-workspace"
    hub_endpoint: str = HUB_ENDPOINT  # who is asked of models outside the catalogue; empty: nobody
    sku_config_map: str = "kaito-skus"  # in the release namespace: instance types of the user's own
    launch_timeout_s: float = 300.0  # Karpenter's liveness: 5 minutes to launch …
    refusal_memory_s: float = (
        1800.0  # an instance type that was refused is not tried again for so long if others are left
    )
    registration_timeout_s: float = 900.0  # … and 15 to register
    node_lost_tolerance_s: float = 300.0
    capacity_flap_tolerance_s: float = 60.0  # a restarting device plugin zeroes nvidia.com/gpu for a while
    unattended_claim_s: float = 60.0  # nobody wrote a status on the NodeClaim for so long: no provisioner is running

    @property
    def hub_mirror(self) -> str:
        """The hub that pods download from, where it is not the usual one."""
        return self.hub_endpoint if self.hub_endpoint != HUB_ENDPOINT else ""
