"""F1: the operator is killed at every write of every flow, and comes to the same objects all the same."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NODE, SERVICE
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workloads import CONTROLLER_REVISION, POD_DISRUPTION_BUDGET, STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.hub.desk import Desk
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from tests.builders import START
from tests.flows import FLOWS, Flow, own_node
from tests.sim.hub import SimulatedHub

REF = WORKSPACE.ref("default", "phi")
WITHIN_S = 900.0
CHILDREN = (STATEFUL_SET, SERVICE, POD_DISRUPTION_BUDGET, CONTROLLER_REVISION)
# Beside the flows of every server: what needs a hub.
ALL = FLOWS | {"model of the hub": Flow({"preset": "org/tiny"}, shows=("--model=org/tiny",))}


class Killed(Exception):
    """The operator's process ends here."""


class Deadly:
    """A client through which the operator's n-th write kills it: before it is sent, or before its answer is seen."""

    def __init__(self, client: LocalClient, life: Life, *, kill_at: int | None, after: bool) -> None:
        self._client, self._life, self._kill_at, self._after = client, life, kill_at, after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def _write(self, send: Callable[[], Awaitable[Any]]) -> Any:
        self.writes += 1
        is_last = self.writes == self._kill_at
        if is_last and not self._after:
            raise Killed
        answer = await send()
        self._life.count_machines()
        if is_last:
            raise Killed
        return answer

    async def create(self, kind: ResourceKind, namespace: str, body: Json, **more: Any) -> Json:
        return await self._write(lambda: self._client.create(kind, namespace, body, **more))

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        return await self._write(lambda: self._client.apply(kind, ref, body))

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, **more: Any) -> Json:
        return await self._write(lambda: self._client.merge_patch(kind, ref, patch, **more))

    async def delete(self, kind: ResourceKind, ref: ObjectRef, **more: Any) -> None:
        return await self._write(lambda: self._client.delete(kind, ref, **more))


class Life:
    """One run of a flow: the server, its robots, and an operator that is started again whenever it is killed."""

    def __init__(self, flow: Flow, kill_at: int | None, after: bool) -> None:
        self._start_s, ids = anyio.current_time(), itertools.count()
        self.flow = flow
        self.server = ApiServer(now=self.now, new_uid=lambda: f"uid-{next(ids)}", emulate=(1, 36))
        self.server.start()
        self.client = LocalClient(self.server)
        self.deadly = Deadly(self.client, self, kill_at=kill_at, after=after)
        self.deaths = self.machines_max = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time() - self._start_s)

    def items(self, kind: ResourceKind) -> list[Json]:
        found = self.server.registry.find(kind.group, kind.version, kind.plural)
        items: list[Json] = self.server.list(found, "default" if kind.namespaced else "")["items"]
        return items

    def count_machines(self) -> None:
        live = [item for item in self.items(NODE_CLAIM) if "deletionTimestamp" not in item["metadata"]]
        self.machines_max = max(self.machines_max, len(live))

    async def operate(self) -> None:
        settings = PlanSettings(node_provisioner=self.flow.provisioner)  # type: ignore[arg-type]
        hub = Desk(SimulatedHub(Random(1), "org/tiny"), Random(1))
        while True:
            try:
                await Operator(self.deadly, settings, now=self.now, rng=Random(1), hub=hub).run()  # type: ignore[arg-type]
            except* Killed:
                self.deaths += 1

    async def until(self, is_met: Callable[[], bool]) -> None:
        with anyio.fail_after(WITHIN_S):
            while not is_met():  # noqa: ASYNC110 (virtual time)
                await anyio.sleep(1)

    def is_ready(self) -> bool:
        return [item.get("status", {}).get("state") for item in self.items(WORKSPACE)] == ["Ready"]

    def picture(self) -> Json:
        """What there is, without what differs from run to run: uids, versions, times, and Karpenter's random names."""
        (ws,) = self.items(WORKSPACE)
        children = {f"{kind.kind}/{item['metadata']['name']}": item for kind in CHILDREN for item in self.items(kind)}
        kept = {name: _bare(item) for name, item in children.items() if not name.endswith("/kubernetes")}
        return {
            "children": kept,
            "claims": [_bare(item) for item in self.items(NODE_CLAIM)] if not self.items(NODE_POOL) else [],
            "pools": [_bare(item) for item in self.items(NODE_POOL)],
            "machines": len(self.items(NODE_CLAIM)),
            "conditions": {item["type"]: (item["status"], item["reason"]) for item in ws["status"]["conditions"]},
            "target": ws["status"]["targetNodeCount"],
            "revision": ws["metadata"]["annotations"]["workspace.kaito.io/revision"],
        }


def _bare(item: Json) -> Json:
    metadata = {key: item["metadata"].get(key) for key in ("name", "labels", "annotations", "ownerReferences")}
    metadata["annotations"] = {k: v for k, v in (metadata["annotations"] or {}).items() if k != "kaito.sh/desired-hash"}
    bare = {"metadata": metadata} | {key: item.get(key) for key in ("spec", "data", "revision")}
    stable = re.sub(r"uid-\d+", "uid", json.dumps(bare, sort_keys=True))
    return json.loads(re.sub(r'"clusterIPs?": ("10[^"]*"|\["10[^"]*"\])', '"clusterIP": ""', stable))  # type: ignore[no-any-return]


def live(flow: Flow, kill_at: int | None = None, *, after: bool = False) -> tuple[Json, int]:
    """Runs the flow to Ready and to its deletion. Returns the picture at Ready and the number of writes."""

    async def main() -> tuple[Json, int]:
        life = Life(flow, kill_at, after)
        for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
            await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        for index in range(flow.own_nodes):
            await life.client.create(NODE, "", own_node(index))
        robots = RobotSettings(images=("*",))
        async with anyio.create_task_group() as tasks:

            async def start(*, task_status: Any) -> None:
                await run_robots(life.client, robots, now=life.now, rng=Random(0), task_status=task_status)

            await tasks.start(start)
            tasks.start_soon(life.operate)
            made = await life.client.create(WORKSPACE, "default", flow.body("phi"))
            await life.until(life.is_ready)
            await anyio.sleep(120)
            picture = life.picture()
            await life.client.delete(WORKSPACE, REF, uid=made["metadata"]["uid"])
            await life.until(lambda: not life.items(WORKSPACE))
            await anyio.sleep(120)
            left = {kind.plural: len(life.items(kind)) for kind in (NODE_POOL, NODE_CLAIM, NODE, STATEFUL_SET)}
            assert left == {"nodepools": 0, "nodeclaims": 0, "nodes": flow.own_nodes, "statefulsets": 0}
            assert life.machines_max <= flow.machines, "never more machines than asked for"
            assert life.deaths == (kill_at is not None)
            writes = life.deadly.writes
            tasks.cancel_scope.cancel()
        return picture, writes

    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(1)  # type: ignore[attr-defined]
    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("name", ALL)
def test_killed_at_any_write_the_operator_comes_to_the_same_objects(name: str) -> None:
    flow = ALL[name]
    expected, writes = live(flow)
    assert expected["machines"] == flow.machines and writes >= 10
    assert flow.missing(expected["children"]["StatefulSet/phi"]) == []
    for at in range(1, writes + 1):
        # Every second write is carried out and its answer lost; the others are never sent.
        found, _ = live(flow, at, after=at % 2 == 0)
        assert found == expected, f"killed at write {at} of {writes}"
