"""The adapter, the operator and the robots on a real kube-apiserver with its own controllers."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from kaito.api.core import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, NODE, POD, SECRET, SERVICE
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json, ObjectRef
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.client import Scope
from kaito.kube.errors import AlreadyExists, Conflict, Invalid, NotFound, Unauthorized, Unreachable
from kaito.kube.ownership import adopt
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from kaito.state.kinds import KINDS
from kaito.watchers.stream import Stream
from tests.integration.controlplane import assets, control_plane

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
READY_WITHIN_S = 150.0


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[KubernetesAsyncioClient]:
    found = await KubernetesAsyncioClient.connect(kubeconfig)
    yield found
    await found.aclose()


def config_map(name: str, **data: str) -> Json:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_discovery_names_the_version_and_what_is_served(client: KubernetesAsyncioClient) -> None:
    found = await client.discover()
    assert (found.major, found.minor) == (1, 20)
    assert found.has(POD) and found.has(STATEFUL_SET) and not found.has(NODE_CLAIM)


async def test_creating_twice_is_already_exists_and_what_is_not_there_is_not_found(
    client: KubernetesAsyncioClient,
) -> None:
    await client.create(CONFIG_MAP, "default", config_map("twice", a="1"))
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAP, "default", config_map("twice", a="1"))
    with pytest.raises(NotFound):
        await client.read(CONFIG_MAP, CONFIG_MAP.ref("default", "never"))
    with pytest.raises(Invalid):
        await client.create(CONFIG_MAP, "default", config_map("Not_A_Name"))


async def test_patches_and_deletes_hold_their_preconditions(client: KubernetesAsyncioClient) -> None:
    made = await client.create(CONFIG_MAP, "default", config_map("held", a="1"))
    ref, metadata = CONFIG_MAP.ref("default", "held"), made["metadata"]
    stale = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    await client.merge_patch(CONFIG_MAP, ref, {"metadata": stale, "data": {"a": "2"}})
    with pytest.raises(Conflict):
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": stale, "data": {"a": "3"}})
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, ref, uid="another")
    await client.delete(CONFIG_MAP, ref, uid=metadata["uid"])
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAP, ref, uid=metadata["uid"])
    with pytest.raises(Conflict):  # the uid alone keeps an apply from making a deleted object again
        await client.apply(
            CONFIG_MAP,
            ref,
            config_map("held", a="4") | {"metadata": {"name": "held", "namespace": "default", "uid": metadata["uid"]}},
        )


def service(*ports: int, selector: dict[str, str] | None = None) -> Json:
    listed = [{"name": f"p{port}", "port": port, "targetPort": port, "protocol": "TCP"} for port in ports]
    return {"metadata": {"name": "owned", "namespace": "default"}, "spec": {"ports": listed, "selector": selector}}


async def test_an_apply_after_ownership_was_adopted_removes_what_the_post_had_set(
    client: KubernetesAsyncioClient,
) -> None:
    ref = SERVICE.ref("default", "owned")
    made = await client.create(SERVICE, "default", service(80, 81, selector={"a": "1", "b": "2"}))
    metadata = made["metadata"]
    adopted = adopt(metadata["managedFields"])
    assert adopted is not None
    precondition = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    await client.merge_patch(SERVICE, ref, {"metadata": precondition | {"managedFields": adopted}})
    wanted = service(80, selector={"a": "1"})
    wanted["metadata"]["uid"] = metadata["uid"]
    applied = await client.apply(SERVICE, ref, wanted)
    assert [port["port"] for port in applied["spec"]["ports"]] == [80]
    assert applied["spec"]["selector"] == {"a": "1"}
    assert adopt(applied["metadata"]["managedFields"]) is None


async def test_a_watch_shows_every_later_change_once_and_in_order(client: KubernetesAsyncioClient) -> None:
    row = next(row for row in KINDS if row.kind == CONFIG_MAP)
    made = await client.create(CONFIG_MAP, "default", config_map("seen", n="0"))
    ref = CONFIG_MAP.ref("default", "seen")
    events: list[Any] = []
    scope = Scope(namespace="default", field_selector="metadata.name=seen")
    stream = Stream(client, row, events.append, rng=Random(0), scope=scope)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.run)
        await _until(lambda: stream.machine.state == "Listed")
        for n in range(1, 6):
            await client.merge_patch(CONFIG_MAP, ref, {"data": {"n": str(n)}})
        await client.delete(CONFIG_MAP, ref, uid=made["metadata"]["uid"])
        await _until(lambda: type(events[-1]).__name__ == "Delete")
        tasks.cancel_scope.cancel()
    seen = [(type(event).__name__, event.obj.data["n"]) for event in events if hasattr(event, "obj")]
    assert seen == [("InitApply", "0"), *(("Apply", str(n)) for n in range(1, 6)), ("Delete", "5")]


async def test_credentials_that_are_not_accepted_and_a_server_that_is_not_there(
    kubeconfig: Path, tmp_path: Path
) -> None:
    text = kubeconfig.read_text()  # noqa: ASYNC240
    (tmp_path / "wrong").write_text(text.replace("token: integration", "token: wrong"))
    wrong = await KubernetesAsyncioClient.connect(tmp_path / "wrong")
    with pytest.raises(Unauthorized):
        await wrong.discover()
    await wrong.aclose()
    (tmp_path / "nowhere").write_text(text.replace(text.split("server: ")[1].split()[0], "https://127.0.0.1:9"))
    nowhere = await KubernetesAsyncioClient.connect(tmp_path / "nowhere")
    with pytest.raises(Unreachable):
        await nowhere.discover()
    await nowhere.aclose()


async def _until(is_met: Callable[[], bool], within_s: float = 30.0) -> None:
    """Another process has no event for us: ask again."""
    until = time.monotonic() + within_s
    while not is_met():
        assert time.monotonic() < until, "it never came"
        await anyio.sleep(0.05)


ADAPTERS = [
    {"source": {"name": "from-an-image", "image": "registry/adapter:1", "imagePullSecrets": ["pull"]}},
    {"source": {"name": "from-a-volume", "volumeSource": {"emptyDir": {}}}},
]


@pytest.mark.parametrize(("provisioner", "adapters"), [("azure-gpu-provisioner", ADAPTERS)])
async def test_a_workspace_becomes_ready_beside_the_servers_own_controllers_and_is_deleted_without_a_trace(
    client: KubernetesAsyncioClient, provisioner: Any, adapters: list[Json]
) -> None:
    for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
        with suppress(AlreadyExists):
            await client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
    with suppress(AlreadyExists):
        auth = {".dockerconfigjson": b64encode(b'{"auths": {}}').decode()}
        pull = {"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": auth}
        await client.create(SECRET, "default", pull)
    ref = WORKSPACE.ref("default", "workspace-phi-3-5-mini")
    operator = Operator(client, PlanSettings(node_provisioner=provisioner), now=wall_clock, rng=Random(0))
    robots = RobotSettings(publish_addresses=False, cluster_minor=20)
    async with anyio.create_task_group() as tasks:
        await tasks.start(
            lambda task_status: run_robots(
                client,
                robots,
                now=wall_clock,
                rng=Random(1),
                only=("provisioner", "kubelet", "leases"),
                task_status=task_status,
            )
        )
        tasks.start_soon(operator.run)
        await _served(client)
        await client.create(
            WORKSPACE,
            "default",
            {
                "metadata": {"name": ref.name, "namespace": "default"},
                "resource": {
                    "instanceType": "Standard_NC24ads_A100_v4",
                    "labelSelector": {"matchLabels": {"apps": "phi-3-5"}},
                },
                "inference": {"preset": {"name": "phi-3.5-mini-instruct"}, "adapters": adapters},
            },
        )
        status = await _state(client, "Ready")
        conditions = {item["type"]: item["status"] for item in status["conditions"]}
        assert {"NodeClaimReady", "NodesReady", "ResourceReady", "InferenceReady", "WorkspaceSucceeded"} <= set(
            conditions
        )
        assert set(conditions.values()) == {"True"}
        assert (status["targetNodeCount"], status.get("blockers", [])) == (1, [])
        assert check(operator.graph) == []

        await client.merge_patch(
            WORKSPACE, ref, {"metadata": {"annotations": {"kaito.sh/performance-mode": "throughput"}}}
        )
        await _asked(lambda: _runs(client, ref, "--performance-mode=throughput"))
        await _state(client, "Ready")

        live = await client.read(WORKSPACE, ref)
        await client.delete(WORKSPACE, ref, uid=live["metadata"]["uid"])
        await _gone(client, ref)
        for kind in (NODE_POOL, NODE_CLAIM, NODE):
            await _empty(client, kind)
        tasks.cancel_scope.cancel()


async def _runs(client: KubernetesAsyncioClient, ref: ObjectRef, word: str) -> bool:
    """Whether the pod that there is now was made with this word in its command."""
    try:
        pod = await client.read(POD, POD.ref(ref.namespace, f"{ref.name}-0"))
    except NotFound:
        return False
    return word in pod["spec"]["containers"][0]["command"]


async def _served(client: KubernetesAsyncioClient) -> None:
    async def is_served() -> bool:
        found = await client.discover()
        return all(found.has(kind) for kind in (WORKSPACE, NODE_CLAIM, NODE_POOL))

    await _asked(is_served)


async def _asked(is_met: Callable[[], Awaitable[bool]]) -> None:
    """Another process has no event for us: ask again."""
    with anyio.fail_after(READY_WITHIN_S):
        while not await is_met():  # noqa: ASYNC110
            await anyio.sleep(0.2)


async def _state(client: KubernetesAsyncioClient, wanted: str) -> Json:
    ref = WORKSPACE.ref("default", "workspace-phi-3-5-mini")
    status: Json = {}
    with anyio.move_on_after(READY_WITHIN_S):
        while status.get("state") != wanted:
            status = (await client.read(WORKSPACE, ref)).get("status") or {}
            await anyio.sleep(0.2)
    assert status.get("state") == wanted, status
    return status


async def _gone(client: KubernetesAsyncioClient, ref: Any) -> None:
    async def is_gone() -> bool:
        try:
            await client.read(WORKSPACE, ref)
        except NotFound:
            return True
        return False

    await _asked(is_gone)


async def _empty(client: KubernetesAsyncioClient, kind: Any) -> None:
    async def is_empty() -> bool:
        return b'"items":[]' in await client.list_page(kind)

    await _asked(is_empty)
