"""A RAGEngine on a real kube-apiserver: create, ready, update, delete; both versions; explain and status show it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kaito.api.core import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, NODE, SERVICE
from kaito.api.crds import node_claim_crd, ragengine_crd, workspace_crd
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.ragengine import RAGENGINE
from kaito.api.workloads import DEPLOYMENT
from kaito.api.workspace import WORKSPACE
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.errors import NotFound
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from tests.integration.controlplane import assets, control_plane

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
WITHIN_S = 120.0
V1ALPHA1 = RAGENGINE._replace(version="v1alpha1")
SKU = "Standard_NC24ads_A100_v4"
POLICY = "scanners:\n- {type: ban-substrings, substrings: [secret], matchType: word}\n"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[KubernetesAsyncioClient]:
    found = await KubernetesAsyncioClient.connect(kubeconfig)
    yield found
    await found.aclose()


@asynccontextmanager
async def operated(client: KubernetesAsyncioClient) -> AsyncIterator[Operator]:
    """The operator, and robots for machines and pods, beside the server's own controllers."""
    for crd in (workspace_crd(), node_claim_crd(), ragengine_crd()):
        try:
            await client.read(CUSTOM_RESOURCE_DEFINITION, CUSTOM_RESOURCE_DEFINITION.ref("", crd["metadata"]["name"]))
        except NotFound:
            await client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)

    async def is_served() -> bool:
        found = await client.discover()
        return all(found.has(kind) for kind in (WORKSPACE, NODE_CLAIM, RAGENGINE, V1ALPHA1))

    await until(is_served)
    operator = Operator(client, PlanSettings(), now=wall_clock, rng=Random(0))
    robots = RobotSettings(publish_addresses=False, cluster_minor=20)
    only = ("provisioner", "kubelet", "leases")
    async with anyio.create_task_group() as tasks:
        await tasks.start(
            lambda task_status: run_robots(
                client, robots, now=wall_clock, rng=Random(1), only=only, task_status=task_status
            )
        )
        tasks.start_soon(operator.run)
        yield operator
        tasks.cancel_scope.cancel()


async def until(is_met: Callable[[], Awaitable[Any]], told: Callable[[], Any] = lambda: "") -> None:
    """Another process has no event for us: ask again."""
    with anyio.move_on_after(WITHIN_S) as scope:
        while not await is_met():  # noqa: ASYNC110
            await anyio.sleep(0.2)
    assert not scope.cancelled_caught, told()


class Life:
    """One RAGEngine, and what there is of it."""

    def __init__(self, client: KubernetesAsyncioClient, name: str) -> None:
        self.client, self.ref, self.seen = client, RAGENGINE.ref("default", name), {}

    async def read(self, kind: ResourceKind = RAGENGINE) -> Json:
        self.seen = await self.client.read(kind, kind.ref("default", self.ref.name))
        return self.seen

    async def is_ready(self) -> bool:
        found = await self.read()
        status = found.get("status") or {}
        observed = {item["observedGeneration"] for item in status.get("conditions") or ()}
        return status.get("state") == "Ready" and observed == {found["metadata"]["generation"]}

    async def container(self) -> Json:
        found = await self.read(DEPLOYMENT)
        return dict(found["spec"]["template"]["spec"]["containers"][0])

    async def is_rolled_out(self) -> bool:
        found = await self.read(DEPLOYMENT)
        status = found.get("status") or {}
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return is_seen and status.get("updatedReplicas") == status.get("readyReplicas") == status.get("replicas") == 1

    async def delete(self) -> None:
        live = await self.read()
        await self.client.delete(RAGENGINE, self.ref, uid=live["metadata"]["uid"])

    async def is_gone(self, kind: ResourceKind = RAGENGINE) -> bool:
        try:
            await self.client.read(kind, kind.ref("default", self.ref.name))
        except NotFound:
            return True
        return False


def kaito(kubeconfig: Path, *words: str) -> str:
    command = [sys.executable, "-m", "kaito", *words, "--kubeconfig", str(kubeconfig)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def variables(container: Json) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


async def test_a_ragengine_becomes_ready_takes_its_updates_and_goes_without_a_trace(
    client: KubernetesAsyncioClient, kubeconfig: Path
) -> None:
    rag = Life(client, "rag")
    body = {
        "metadata": {"name": "rag", "namespace": "default"},
        "spec": {
            "compute": {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}},
            "embedding": {"local": {"modelID": "BAAI/bge-small-en-v1.5"}},
            "inferenceService": {"url": "http://phi/v1/chat/completions", "contextWindowSize": 4096},
        },
    }
    async with operated(client) as operator:
        await client.create(RAGENGINE, "default", body)
        await until(rag.is_ready, lambda: rag.seen)
        status = rag.seen["status"]
        assert {item["type"]: item["status"] for item in status["conditions"]} == dict.fromkeys(
            ("NodeClaimReady", "ResourceReady", "ServiceReady", "RAGEngineSucceeded"), "True"
        )
        assert (len(status["workerNodes"]), status.get("blockers", [])) == (1, [])
        container = await rag.container()
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert variables(container)["LLM_CONTEXT_WINDOW"] == "4096"
        assert check(operator.graph) == []

        shown = await anyio.to_thread.run_sync(kaito, kubeconfig, "explain", "ragengine/rag")
        assert shown.startswith("ragengine/default/rag is Ready since ") and "ServerReady" in shown
        shown = await anyio.to_thread.run_sync(kaito, kubeconfig, "status")
        row = next(line.split() for line in shown.splitlines() if "ragengine/rag" in line)
        assert row[:6] == ["default", "ragengine/rag", "Ready", "ServerReady", "1/1", "1"]

        # An update that cannot be yet is named, and leaves what runs alone; with what it names it is rolled out.
        guardrails = {"enabled": True, "configMapRef": {"name": "policy"}}
        await client.merge_patch(RAGENGINE, rag.ref, {"spec": {"guardrails": guardrails}})

        async def is_named() -> bool:
            found = (await rag.read())["status"]
            return any("there is no ConfigMap policy" in each["message"] for each in found.get("blockers") or ())

        await until(is_named, lambda: rag.seen)
        shown = await anyio.to_thread.run_sync(kaito, kubeconfig, "explain", "ragengine/rag")
        assert "kubectl create configmap policy" in shown
        assert variables(await rag.container())["OUTPUT_GUARDRAILS_ENABLED"] == "false"
        policy = {"metadata": {"name": "policy", "namespace": "default"}, "data": {"guardrails.yaml": POLICY}}
        await client.create(CONFIG_MAP, "default", policy)
        change = {"inferenceService": {"contextWindowSize": 8192}}
        await client.merge_patch(RAGENGINE, rag.ref, {"spec": change})

        async def is_updated() -> bool:
            told = variables(await rag.container())
            return (told["LLM_CONTEXT_WINDOW"], told["OUTPUT_GUARDRAILS_ENABLED"]) == ("8192", "true")

        await until(is_updated, lambda: rag.seen)
        await until(rag.is_rolled_out, lambda: rag.seen)
        await until(rag.is_ready, lambda: rag.seen)

        await rag.delete()
        await until(rag.is_gone)
        for kind in (NODE_CLAIM, NODE):
            assert b'"items":[]' in await client.list_page(kind)
        await until(lambda: rag.is_gone(DEPLOYMENT))
        await until(lambda: rag.is_gone(SERVICE))


async def test_a_v1alpha1_object_keeps_its_flat_storage_through_the_operators_own_writes(
    client: KubernetesAsyncioClient,
) -> None:
    old, flat = Life(client, "old"), {"persistentVolumeClaim": "index", "mountPath": "/index"}
    body = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "RAGEngine",
        "metadata": {"name": "old", "namespace": "default"},
        "spec": {"embedding": {"local": {"modelID": "BAAI/bge-small-en-v1.5"}}, "storage": flat},
    }
    async with operated(client):
        await client.create(V1ALPHA1, "default", body)

        async def is_taken_up() -> bool:
            return not await old.is_gone(DEPLOYMENT) and bool((await old.read()).get("status"))

        await until(is_taken_up, lambda: old.seen)  # finalizer and status were written, as v1beta1
        await client.merge_patch(RAGENGINE, old.ref, {"metadata": {"annotations": {"edited": "true"}}})
        for kind in (RAGENGINE, V1ALPHA1):
            found = await old.read(kind)
            assert (found["apiVersion"], found["spec"]["storage"]) == (kind.api_version, flat)
        pod = (await old.read(DEPLOYMENT))["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["vector-db-storage"]["persistentVolumeClaim"] == {"claimName": "index"}
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["vector-db-storage"] == "/index"
        await old.delete()
        await until(old.is_gone)
