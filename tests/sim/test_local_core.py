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
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from tests.builders import START, workspace

REF = WORKSPACE.ref("default", "phi")
WITHIN_S = 900.0
DEFAULTS = PlanSettings()
KARPENTER = PlanSettings(node_provisioner="karpenter")


class Life:
    def __init__(self, minor: int, settings: PlanSettings) -> None:
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

    async def status(self) -> Json:
        return (await self.client.read(WORKSPACE, REF)).get("status") or {}

    async def until(self, is_met: Callable[[], Awaitable[bool]]) -> None:
        with anyio.fail_after(WITHIN_S):
            while not await is_met():  # noqa: ASYNC110 (virtual time)
                await anyio.sleep(1)

    async def delete(self) -> None:
        """Deletes the Workspace and asserts that nothing of it is left."""
        metadata = (await self.client.read(WORKSPACE, REF))["metadata"]
        await self.client.delete(WORKSPACE, REF, uid=metadata["uid"])

        async def is_gone() -> bool:
            return self.names(WORKSPACE) == []

        await self.until(is_gone)
        await anyio.sleep(120)
        kinds = (NODE_POOL, NODE_CLAIM, NODE, POD, STATEFUL_SET, SERVICE)
        left = {kind.plural: names for kind in kinds if (names := self.names(kind)) and names != ["kubernetes"]}
        assert left == {}

    async def is_ready(self) -> bool:
        return (await self.status()).get("state") == "Ready"


def live(
    minor: int,
    scenario: Callable[[Life], Awaitable[None]],
    *,
    settings: PlanSettings = DEFAULTS,
    body: Json | None = None,
    **ws: Any,
) -> None:
    async def main() -> None:
        life = Life(minor, settings)
        for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
            await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        robots = RobotSettings(cluster_minor=minor)

        async def start(*, task_status: Any) -> None:
            await run_robots(life.client, robots, now=life.now, rng=Random(0), task_status=task_status)

        async with anyio.create_task_group() as tasks:
            await tasks.start(start)
            tasks.start_soon(life.operator.run)
            await life.client.create(WORKSPACE, "default", body or asked_for(**ws))
            await scenario(life)
            tasks.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def asked_for(**ws: Any) -> Json:
    """A Workspace as a user writes it."""
    body = workspace(finalizer=False, **ws)
    return body | {"metadata": {"name": "phi", "namespace": "default"}}


@pytest.mark.parametrize("minor", [20, 36])
def test_a_workspace_becomes_ready_is_quiet_and_is_deleted_without_a_trace(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        conditions = {item["type"]: item["status"] for item in (await life.status())["conditions"]}
        assert set(conditions.values()) == {"True"}
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3_600)
        assert life.version() == version, "a converged cluster sees no write"
        assert check(life.operator.graph) == []

        await life.delete()

    live(minor, scenario)


@pytest.mark.parametrize("minor", [20, 36])
def test_karpenter_keeps_the_machines_and_they_go_with_the_workspace(minor: int) -> None:
    async def scenario(life: Life) -> None:
        await life.until(life.is_ready)
        (pool,) = life.names(NODE_POOL)
        claims = life.names(NODE_CLAIM)
        assert (pool, len(claims)) == ("default-phi", 2) and all(name.startswith("default-phi-") for name in claims)
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3_600)
        assert life.version() == version, "a converged cluster sees no write"
        await life.delete()

    settings = {"preset": "deepseek-ai/DeepSeek-R1-0528", "instance_type": "Standard_ND96isr_H100_v5"}
    live(minor, scenario, settings=KARPENTER, **settings)


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
