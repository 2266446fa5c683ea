"""FLOWS: the kinds of Workspaces that must come to life, run on every server that there is (local core, HTTP, real)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from kaito.api.meta import Json
from kaito.local.robots.machine_node import GPUS_ANNOTATION, PROVIDER_PREFIX
from tests.builders import workspace

TEMPLATE: Json = {
    "spec": {"containers": [{"name": "mine", "image": "mine:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
}
ADAPTERS = [
    {"source": {"name": "from-a-volume", "volumeSource": {"emptyDir": {}}}},
    {"source": {"name": "from-an-image", "image": "registry/adapter:1"}},
]


@dataclass(frozen=True)
class Flow:
    """A Workspace, how its machines come, how many there are in the end, and what its pods show."""

    ws: dict[str, Any] = field(default_factory=dict)
    provisioner: str = "azure-gpu-provisioner"
    machines: int = 1  # that are asked for
    own_nodes: int = 0  # that the user brings
    pods: int = 1
    shows: tuple[str, ...] = ("--served-model-name=phi-3.5-mini-instruct",)  # words of the pods' template

    def body(self, name: str) -> Json:
        """The Workspace as a user writes it."""
        body = workspace(name, finalizer=False, **self.ws)
        return body | {"metadata": {"name": name, "namespace": "default"}}

    def missing(self, stateful_set: Json) -> list[str]:
        """Which of the words the StatefulSet's pod template does not show."""
        text = json.dumps(stateful_set["spec"]["template"])
        return [word for word in self.shows if word not in text]


FLOWS = {
    "one node": Flow(),
    "two nodes": Flow(
        {"preset": "deepseek-ai/DeepSeek-R1-0528", "instance_type": "Standard_ND96isr_H100_v5"},
        machines=2,
        pods=2,
        shows=("--pipeline-parallel-size=2", "--tensor-parallel-size=8", "kaito.sh/workspace"),
    ),
    "byo": Flow({"instance_type": None}, "byo", machines=0, own_nodes=2),
    "karpenter": Flow(provisioner="karpenter", shows=("karpenter.kaito.sh/workspace-name",)),
    "adapter": Flow(
        {"inference": {"adapters": ADAPTERS}}, shows=("registry/adapter:1", "from-a-volume", "--kaito-adapters-dir")
    ),
    "custom template": Flow({"preset": None, "template": TEMPLATE}, shows=("mine:1",)),
    "tool calling": Flow(
        {"preset": "llama-3.1-8b-instruct"},
        shows=("--enable-auto-tool-choice", "--tool-call-parser=llama3_json"),
    ),
}


def own_node(index: int, apps: str = "phi") -> Json:
    """A GPU machine that the user brought, driven by the robots like theirs."""
    name = f"{apps}-gpu-{index}"
    labels = {
        "apps": apps,
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.count": "1",
        "nvidia.com/gpu.memory": "81920",
    }
    metadata = {"name": name, "labels": labels, "annotations": {GPUS_ANNOTATION: "nvidia.com/gpu=1"}}
    resources = {"cpu": "24", "memory": "220Gi", "ephemeral-storage": "1Ti", "pods": "110"}
    status = {"capacity": resources, "allocatable": resources}
    return {"metadata": metadata, "spec": {"providerID": f"{PROVIDER_PREFIX}{name}"}, "status": status}
