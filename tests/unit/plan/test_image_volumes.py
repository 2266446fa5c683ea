"""Images are mounted as volumes where server and nodes say that they can, and pulled by an init container elsewhere."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NODE
from kaito.api.crds import workspace_crd
from kaito.api.meta import Json
from kaito.api.workloads import STATEFUL_SET
from kaito.cli.plan_files import document_of
from kaito.cli.plan_world import against
from kaito.cli.planned import plan_world
from kaito.cli.prices import Prices
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.plan.actions import Create
from kaito.plan.pods.images import mounts_images
from kaito.settings import PlanSettings
from kaito.state.view import ServerCapabilities
from tests.builders import decode, moment, node, workspace

GPU_LABELS = {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.count": "1", "nvidia.com/gpu.memory": "81920"}


def machine(name: str = "n1", runtime: str = "containerd://2.2.1", kubelet: str = "v1.36.0-eks.3") -> Json:
    body = node(name, labels=GPU_LABELS | {"apps": "phi"})
    body["status"]["nodeInfo"] = {"kubeletVersion": kubelet, "containerRuntimeVersion": runtime}
    return body


@pytest.mark.parametrize(
    ("minor", "nodes", "can"),
    [
        (36, [machine()], True),
        (35, [machine(kubelet="v1.35.0"), machine("n2", "cri-o://1.33.0")], True),
        (34, [machine()], False),  # served, but off unless somebody has switched it on
        (36, [machine(kubelet="v1.34.9")], False),
        (36, [machine(runtime="containerd://2.1.6+bottlerocket")], False),  # would mount the whole image, silently
        (36, [machine(), machine("n2", "docker://27.0")], False),
        (36, [machine(runtime="", kubelet="")], False),
        (36, [], False),  # it is not known where the pods will run
        (20, [machine(kubelet="v1.20.2", runtime="containerd://1.4")], False),
    ],
)
def test_the_server_and_every_node_must_be_able_to(minor: int, nodes: list[Json], can: bool) -> None:
    server, typed = ServerCapabilities((1, minor)), [decode(body) for body in nodes]
    assert mounts_images("auto", server, typed) is can
    assert mounts_images("never", server, typed) is False
    assert mounts_images("always", server, typed) is (minor >= 33)


async def made_at(minor: int) -> Json:
    """The pod template of a Workspace with an adapter from an image, as the emulated server has stored it."""
    ids = itertools.count()
    server = ApiServer(now=moment, new_uid=lambda: f"uid-{next(ids)}", emulate=(1, minor))
    server.start()
    client = LocalClient(server)
    await client.create(CUSTOM_RESOURCE_DEFINITION, "", workspace_crd())
    ready = machine(kubelet=f"v1.{minor}.0")
    ready["metadata"] = {"name": "n1", "labels": ready["metadata"]["labels"]}
    await client.create(NODE, "", ready)
    adapter = {"source": {"name": "tone", "image": "r/adapter:1"}}
    body = workspace("phi", instance_type=None, inference={"adapters": [adapter]})
    body["metadata"] = {"name": "phi", "namespace": "default"}
    document = document_of("test", body)
    assert document is not None
    world = await against(client, [document], [], moment())
    (planned,) = plan_world(world, PlanSettings(node_provisioner="byo"), Prices(), moment())
    (made,) = [
        step.action.body
        for step in planned.steps
        if isinstance(step.action, Create) and step.action.kind == STATEFUL_SET
    ]
    stored = await client.create(STATEFUL_SET, "default", made)
    spec: Any = stored["spec"]["template"]["spec"]
    return dict(spec)


async def test_at_1_36_the_adapter_is_a_volume() -> None:
    spec = await made_at(36)
    (volume,) = [volume for volume in spec["volumes"] if "image" in volume]
    assert volume["image"]["reference"] == "r/adapter:1" and not spec.get("initContainers")
    (mount,) = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
    assert (mount["subPath"], mount["readOnly"]) == ("data", True)


async def test_at_1_20_the_adapter_is_pulled() -> None:
    spec = await made_at(20)
    assert not [volume for volume in spec["volumes"] if "image" in volume]
    (puller,) = spec["initContainers"]
    assert "--image=r/adapter:1" in puller["command"]
