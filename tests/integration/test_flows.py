"""Every kind of Workspace on a real kube-apiserver: its own controllers, `kaito local robots`, and our operator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NODE, POD, SERVICE
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.errors import NotFound
from kaito.local.robots.settings import StageDelays
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from tests.flows import FLOWS, Flow, own_node
from tests.integration.controlplane import assets, control_plane

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
WITHIN_S = 100.0  # a pod whose node is gone waits for the pod collector of the control plane: up to a minute
QUIET_S = 3.0
STAGES = [name.removesuffix("_s").replace("_", "-") for name in StageDelays.__slots__ if name != "jitter"]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A control plane with our kinds, driven by the command that a user would start."""
    folder = tmp_path_factory.mktemp("controlplane")
    with control_plane(folder) as found:
        anyio.run(_install, found, backend="asyncio")
        command = [sys.executable, "-m", "kaito", "local", "robots", f"--kubeconfig={found}", f"--dir={folder}"]
        command += ["--pods=instant", "--image=*", *(f"--delay={stage}=0.2" for stage in STAGES)]
        robots = subprocess.Popen(command, stdout=(folder / "robots.log").open("wb"), stderr=subprocess.STDOUT)
        try:
            yield found
            assert robots.poll() is None, (folder / "robots.log").read_text()
        finally:
            robots.terminate()
            robots.wait(20)


async def _install(kubeconfig: Path) -> None:
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
        await client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)

    async def is_served() -> bool:
        found = await client.discover()
        return all(found.has(kind) for kind in (WORKSPACE, NODE_CLAIM, NODE_POOL))

    await _until(is_served)
    await client.aclose()


async def _until(is_met: Callable[[], Awaitable[bool]]) -> None:
    """Another process has no event for us: ask again."""
    with anyio.fail_after(WITHIN_S):
        while not await is_met():  # noqa: ASYNC110
            await anyio.sleep(0.1)


class Life:
    """One Workspace of a flow on the server."""

    def __init__(self, client: KubernetesAsyncioClient, flow: Flow, name: str, operator: Operator) -> None:
        self.client, self.flow, self.ref, self.operator = client, flow, WORKSPACE.ref("default", name), operator

    async def names(self, kind: ResourceKind) -> list[str]:
        page = json.loads(await self.client.list_page(kind))
        return [item["metadata"]["name"] for item in page["items"] if item["metadata"]["name"] != "kubernetes"]

    async def status(self) -> Json:
        return (await self.client.read(WORKSPACE, self.ref)).get("status") or {}

    async def is_ready(self) -> bool:
        return (await self.status()).get("state") == "Ready"

    async def is_gone(self) -> bool:
        try:
            await self.client.read(WORKSPACE, self.ref)
        except NotFound:
            return await self.names(POD) == await self.names(STATEFUL_SET) == await self.names(SERVICE) == []
        return False

    async def delete(self) -> None:
        metadata = (await self.client.read(WORKSPACE, self.ref))["metadata"]
        await self.client.delete(WORKSPACE, self.ref, uid=metadata["uid"])
        await _until(self.is_gone)


@asynccontextmanager
async def life(kubeconfig: Path, flow: Flow, name: str) -> AsyncIterator[Life]:
    """The flow's Workspace, its own nodes if it has any, and an operator with the flow's provisioner."""
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    settings = PlanSettings(node_provisioner=flow.provisioner, benchmark=False)  # type: ignore[arg-type]
    operator = Operator(client, settings, now=wall_clock, rng=Random(0))
    brought = [await client.create(NODE, "", own_node(index, name)) for index in range(flow.own_nodes)]
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(operator.run)
            await client.create(WORKSPACE, "default", flow.body(name))
            yield Life(client, flow, name, operator)
            tasks.cancel_scope.cancel()
    finally:
        for node in brought:
            await client.delete(NODE, NODE.ref("", node["metadata"]["name"]), uid=node["metadata"]["uid"])
        await client.aclose()


@pytest.mark.parametrize("kind", FLOWS)
async def test_a_workspace_becomes_ready_is_quiet_and_is_deleted_without_a_trace(kubeconfig: Path, kind: str) -> None:
    flow, name = FLOWS[kind], kind.replace(" ", "-")
    async with life(kubeconfig, flow, name) as found:
        with anyio.move_on_after(WITHIN_S):
            await _until(found.is_ready)
        status = await found.status()
        assert status.get("state") == "Ready", status.get("blockers")
        assert {item["status"] for item in status["conditions"]} == {"True"} and status.get("blockers", []) == []
        assert (len(await found.names(NODE_CLAIM)), len(await found.names(POD))) == (flow.machines, flow.pods)
        assert len(await found.names(NODE_POOL)) == (flow.provisioner == "karpenter")
        assert flow.missing(await found.client.read(STATEFUL_SET, STATEFUL_SET.ref("default", name))) == []

        version = (await found.client.read(WORKSPACE, found.ref))["metadata"]["resourceVersion"]
        await anyio.sleep(QUIET_S)
        assert (await found.client.read(WORKSPACE, found.ref))["metadata"]["resourceVersion"] == version
        assert check(found.operator.graph) == []
        await found.delete()
        assert await found.names(NODE_POOL) == await found.names(NODE_CLAIM) == []
        assert len(await found.names(NODE)) == flow.own_nodes


@pytest.mark.parametrize("kind", ["one node", "karpenter", "byo"])
async def test_a_workspace_that_is_made_anew_at_once_comes_to_life_again(kubeconfig: Path, kind: str) -> None:
    """Its former machines, pods and events are still around: none of them holds it up for long."""
    flow, name = FLOWS[kind], f"again-{kind.replace(' ', '-')}"
    async with life(kubeconfig, flow, name) as found:
        await _until(found.is_ready)
        uid = (await found.client.read(WORKSPACE, found.ref))["metadata"]["uid"]
        await found.client.delete(WORKSPACE, found.ref, uid=uid)

        async def is_free() -> bool:
            try:
                await found.client.read(WORKSPACE, found.ref)
            except NotFound:
                return True
            return False

        await _until(is_free)
        await found.client.create(WORKSPACE, "default", flow.body(name))
        await _until(found.is_ready)
        await found.delete()
