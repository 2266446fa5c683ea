"""The whole operator and the robots on the local API server's core, at both ends of what it emulates."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NODE, POD, SERVICE
from kaito.api.crds import crds, node_claim_crd, node_pool_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.ragengine import RAGENGINE
from kaito.api.workloads import DEPLOYMENT, STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from tests.builders import SKU, START, workspace
from tests.flows import FLOWS, Flow, own_node

WITHIN_S = 900.0
DEFAULTS = PlanSettings()


class Life:
    root = WORKSPACE

    def __init__(self, minor: int, settings: PlanSettings) -> None:
        self.own_nodes: list[str] = []  # that the user brought
        self._start_s, ids = anyio.current_time(), itertools.count()
        self.server = ApiServer(now=self.now, new_uid=lambda: f"uid-{next(ids)}", emulate=(1, minor))
        self.server.start()
        self.client = LocalClient(self.server)
        self.operator = Operator(self.client, settings, now=self.now, rng=Random(1))

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time() - self._start_s)

    def version(self) -> str:
        """The server's latest resourceVersion: it stands still while nobody writes."""
        found = self.server.registry.find("", "v1", "configmaps")
        return str(self.server.list(found, "")["metadata"]["resourceVersion"])

    def names(self, kind: ResourceKind, namespace: str = "default") -> list[str]:
        found = self.server.registry.find(kind.group, kind.version, kind.plural)
        items = self.server.list(found, namespace if kind.namespaced else "")["items"]
        return [item["metadata"]["name"] for item in items]

    @property
    def ref(self) -> ObjectRef:
        return self.root.ref("default", "phi")

    async def status(self) -> Json:
        return (await self.client.read(self.root, self.ref)).get("status") or {}

    async def until(self, is_met: Callable[[], Awaitable[bool]]) -> None:
        with anyio.fail_after(WITHIN_S):
            while not await is_met():  # noqa: ASYNC110 (virtual time)
                await anyio.sleep(1)

    async def delete(self) -> None:
        """Deletes the root and asserts that nothing of it is left."""
        metadata = (await self.client.read(self.root, self.ref))["metadata"]
        await self.client.delete(self.root, self.ref, uid=metadata["uid"])

        async def is_gone() -> bool:
            return self.names(self.root) == []

        await self.until(is_gone)
        await anyio.sleep(120)
        kinds = (NODE_POOL, NODE_CLAIM, NODE, POD, STATEFUL_SET, DEPLOYMENT, SERVICE)
        kept = {"kubernetes", *self.own_nodes}
        left = {kind.plural: names for kind in kinds if (names := sorted({*self.names(kind)} - kept))}
        assert left == {} and {*self.own_nodes} <= {*self.names(NODE)}

    async def is_ready(self) -> bool:
        return (await self.status()).get("state") == "Ready"


def live(
    minor: int,
    scenario: Callable[[Life], Awaitable[None]],
    *,
    settings: PlanSettings = DEFAULTS,
    body: Json | None = None,
    rag: Json | None = None,
    own_nodes: int = 0,
    **ws: Any,
) -> None:
    async def main() -> None:
        life = Life(minor, settings)
        for crd in (*crds().values(), node_claim_crd(), node_pool_crd()):
            await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        for index in range(own_nodes):
            node = await life.client.create(NODE, "", own_node(index))
            life.own_nodes.append(node["metadata"]["name"])
        robots = RobotSettings(cluster_minor=minor, images=("*",))

        async def start(*, task_status: Any) -> None:
            await run_robots(life.client, robots, now=life.now, rng=Random(0), task_status=task_status)

        async with anyio.create_task_group() as tasks:
            await tasks.start(start)
            tasks.start_soon(life.operator.run)
            if rag is None:
                await life.client.create(WORKSPACE, "default", body or asked_for(**ws))
            else:
                life.root = RAGENGINE
                await life.client.create(RAGENGINE, "default", rag)
            await scenario(life)
            tasks.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def asked_for(**ws: Any) -> Json:
    """A Workspace as a user writes it."""
    body = workspace(finalizer=False, **ws)
    return body | {"metadata": {"name": "phi", "namespace": "default"}}


@pytest.mark.parametrize("minor", [20, 36])
@pytest.mark.parametrize("name", FLOWS)
def test_a_workspace_becomes_ready_is_quiet_and_is_deleted_without_a_trace(name: str, minor: int) -> None:
    flow = FLOWS[name]

    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        await shows_what_it_is(life, flow)
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3_600)
        assert life.version() == version, "a converged cluster sees no write"
        assert check(life.operator.graph) == []
        await life.delete()

    settings = PlanSettings(node_provisioner=flow.provisioner)  # type: ignore[arg-type]
    live(minor, scenario, settings=settings, body=flow.body("phi"), own_nodes=flow.own_nodes)


async def shows_what_it_is(life: Life, flow: Flow) -> None:
    """As many machines and pods as the flow asks for, made in its way, and what its pods run."""
    status = await life.status()
    assert {item["status"] for item in status["conditions"]} == {"True"} and status["blockers"] == []
    assert [stage["stage"] for stage in status["timeline"]][-1] == "ServerReady"
    claims, pools = life.names(NODE_CLAIM), life.names(NODE_POOL)
    assert (len(claims), len(life.names(POD)), status["targetNodeCount"]) == (flow.machines, flow.pods, flow.pods)
    assert pools == (["default-phi"] if flow.provisioner == "karpenter" else [])
    assert all(name.startswith("default-phi-") for name in claims if pools)
    assert flow.missing(await life.client.read(STATEFUL_SET, STATEFUL_SET.ref("default", "phi"))) == []


@pytest.mark.parametrize("minor", [20, 36])
def test_a_node_pool_that_was_made_larger_by_hand_gets_its_size_back_and_its_machines_go(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        served_by = set((await life.status())["workerNodes"])
        ref = NODE_POOL.ref("", "default-phi")
        await life.client.merge_patch(NODE_POOL, ref, {"spec": {"replicas": 4}})

        async def is_repaired() -> bool:
            return (await life.client.read(NODE_POOL, ref))["spec"]["replicas"] == 2 and len(
                life.names(NODE_CLAIM)
            ) == 2

        await life.until(is_repaired)
        await anyio.sleep(120)
        assert set(life.names(NODE)) == served_by and await life.is_ready(), "none of those that serve went"
        await life.delete()

    flow = FLOWS["two nodes"]
    live(minor, scenario, settings=PlanSettings(node_provisioner="karpenter"), body=flow.body("phi"))


@pytest.mark.parametrize("minor", [20, 36])
def test_a_child_edited_by_hand_is_repaired_by_apply(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        ref = SERVICE.ref("default", "phi")
        before = (await life.client.read(SERVICE, ref))["spec"]
        await life.client.merge_patch(SERVICE, ref, {"spec": {"selector": {"kaito.sh/workspace": "other"}}})

        async def is_repaired() -> bool:
            return bool((await life.client.read(SERVICE, ref))["spec"]["selector"] == before["selector"])

        await life.until(is_repaired)
        assert (await life.client.read(SERVICE, ref))["spec"]["ports"] == before["ports"]

    live(minor, scenario)


def rag(**spec: Any) -> Json:
    embedding = {"local": {"modelID": "BAAI/bge-small-en-v1.5"}}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "RAGEngine",
        "metadata": {"name": "phi", "namespace": "default"},
        "spec": {"embedding": embedding, "inferenceService": {"url": "http://m/v1", "contextWindowSize": 512}} | spec,
    }


COMPUTE = {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}}


@pytest.mark.parametrize("minor", [20, 36])
def test_a_ragengine_with_a_gpu_becomes_ready_is_quiet_and_is_deleted_without_a_trace(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        status = await life.status()
        assert {item["type"]: item["status"] for item in status["conditions"]} == dict.fromkeys(
            ("NodeClaimReady", "ResourceReady", "ServiceReady", "RAGEngineSucceeded"), "True"
        )
        assert len(life.names(NODE_CLAIM)) == len(status["workerNodes"]) == 1
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3_600)
        assert life.version() == version, "a converged cluster sees no write"
        assert check(life.operator.graph) == []
        await life.delete()

    live(minor, scenario, rag=rag(compute=COMPUTE))


@pytest.mark.parametrize("minor", [20, 36])
def test_a_changed_ragengine_reaches_its_pod(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        (before,) = life.names(POD)
        patch = {"spec": {"inferenceService": {"url": "http://other/v1"}}}
        await life.client.merge_patch(RAGENGINE, life.ref, patch)

        async def is_rolled_out() -> bool:
            names = life.names(POD)
            return len(names) == 1 and names != [before] and await life.is_ready()

        await life.until(is_rolled_out)
        (name,) = life.names(POD)
        pod = await life.client.read(POD, POD.ref("default", name))
        variables = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
        assert variables["LLM_INFERENCE_URL"] == "http://other/v1"

    live(minor, scenario, rag=rag(compute=COMPUTE))


@pytest.mark.parametrize("minor", [20, 36])
def test_an_inference_set_keeps_its_replicas_and_goes_when_they_are_gone(minor: int) -> None:
    async def scenario(life: Life) -> None:
        template = {
            "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
            "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
        }
        spec = {"replicas": 2, "template": template, "labelSelector": {"matchLabels": {"apps": "set"}}}
        made = await life.client.create(INFERENCE_SET, "default", {"metadata": {"name": "set"}, "spec": spec})
        ref = INFERENCE_SET.ref("default", "set")

        async def status() -> Json:
            return (await life.client.read(INFERENCE_SET, ref)).get("status") or {}

        async def are_ready() -> bool:
            return (await status()).get("readyReplicas") == 2

        await life.until(are_ready)
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3_600)
        assert life.version() == version, "a converged cluster sees no write"
        assert len(life.names(WORKSPACE)) == 3 and len(life.names(NODE_CLAIM)) == 3  # beside the Workspace phi
        changed = {"spec": {"template": {"metadata": {"annotations": {"kaito.sh/performance-mode": "throughput"}}}}}
        await life.client.merge_patch(INFERENCE_SET, ref, changed)

        async def are_changed() -> bool:
            names = [name for name in life.names(WORKSPACE) if name != "phi"]
            bodies = [await life.client.read(WORKSPACE, WORKSPACE.ref("default", name)) for name in names]
            notes = [body["metadata"].get("annotations") or {} for body in bodies]
            return all(each.get("kaito.sh/performance-mode") == "throughput" for each in notes) and await are_ready()

        await life.until(are_changed)
        await life.client.delete(INFERENCE_SET, ref, uid=made["metadata"]["uid"])

        async def is_gone() -> bool:
            return life.names(INFERENCE_SET) == [] and life.names(WORKSPACE) == ["phi"]

        await life.until(is_gone)

    live(minor, scenario)


def refused_template(name: str) -> Json:
    return {"spec": {"containers": [{"name": name, "image": "mine:1"}]}}


def test_a_workload_that_the_server_refuses_is_told_in_its_words_until_it_is_corrected() -> None:
    async def scenario(life: Life) -> None:
        async def is_refused() -> bool:
            blockers = (await life.status()).get("blockers") or [{}]
            return bool(blockers[0].get("reason") == "Refused")

        await life.until(is_refused)
        told = (await life.status())["blockers"][0]
        assert (told["gate"], told["culprit"]) == ("WorkloadCreated", "statefulset/default/phi")
        assert told["message"].startswith("the API server refuses StatefulSet phi: ")
        assert 'spec.template.spec.containers[0].name: Invalid value: "NO NAME"' in told["message"]
        version = life.version()
        await anyio.sleep(1_000)  # it is asked for again and again, and nothing is written meanwhile
        assert await is_refused() and life.version() == version
        await life.client.merge_patch(WORKSPACE, life.ref, {"inference": {"template": refused_template("c")}})
        await life.until(life.is_ready)
        assert (await life.status())["blockers"] == []
        await life.client.merge_patch(WORKSPACE, life.ref, {"inference": {"template": refused_template("NO NAME")}})
        await life.until(is_refused)
        assert (await life.status())["state"] == "Ready"  # what runs goes on

    live(36, scenario, preset=None, template=refused_template("NO NAME"))
