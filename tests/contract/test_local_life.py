"""The whole operator and the robots over the API server core on virtual time, and over a restart of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.kube.errors import NotFound
from kaito.local.client import LocalClient, open_core
from kaito.local.persist import State
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from tests.builders import START, workspace

REF = WORKSPACE.ref("default", "phi")
READY_WITHIN_S = 900.0


class Life:
    """A core whose changes are kept, the operator and the robots."""

    def __init__(self, emulate: tuple[int, int]) -> None:
        self.state, self._start_s, self._emulate = State(), anyio.current_time(), emulate
        self._count = itertools.count()
        self.client = self.open()

    def open(self) -> LocalClient:
        """A core that goes on from what was recorded."""
        state = State(self.state.version, dict(self.state.objects))
        return open_core(
            state,
            lambda changes: [self.state.take(change) for change in changes] and None,
            now=self.now,
            new_uid=lambda: f"uid-{next(self._count)}",
            emulate=self._emulate,
        )

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time() - self._start_s)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            robots = RobotSettings(cluster_minor=self._emulate[1])

            async def machines(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await run_robots(self.client, robots, now=self.now, rng=Random(1), task_status=task_status)

            await tasks.start(machines)
            operator = Operator(self.client, PlanSettings(), now=self.now, rng=Random(2))
            await tasks.start(lambda task_status: operator.run(task_status=task_status))  # type: ignore[arg-type]
            task_status.started()

    async def state_of(self) -> str:
        found = await self.client.read(WORKSPACE, REF)
        return str((found.get("status") or {}).get("state", ""))

    async def until(self, wanted: str) -> None:
        with anyio.fail_after(READY_WITHIN_S):
            while await self.state_of() != wanted:  # noqa: ASYNC110 (the state is asked for as a user does)
                await anyio.sleep(1)

    async def all(self, kind: ResourceKind) -> list[Json]:
        return list(json.loads(await self.client.list_page(kind))["items"])


def live(scenario: Callable[[Life], object], emulate: tuple[int, int]) -> None:
    async def main() -> None:
        await scenario(Life(emulate))  # type: ignore[misc]

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("emulate", [(1, 20), (1, 36)])
def test_a_workspace_becomes_ready_stays_quiet_survives_a_restart_and_leaves_nothing(emulate: tuple[int, int]) -> None:
    async def scenario(life: Life) -> None:
        body = workspace("phi", preset="phi-3.5-mini-instruct", finalizer=False)
        body["metadata"] = {"name": "phi", "namespace": "default"}
        await life.client.create(WORKSPACE, "default", body)
        async with anyio.create_task_group() as tasks:
            await tasks.start(life.run)
            await life.until("Ready")
            assert [len(await life.all(kind)) for kind in (NODE_CLAIM, NODE, STATEFUL_SET, POD)] == [1, 1, 1, 1]
            await anyio.sleep(60)
            before = life.client.server.dump()
            await anyio.sleep(1800)
            changed = {key.kind for key, obj in life.state.objects.items()
                       if int(obj["metadata"]["resourceVersion"]) > before["version"]}  # fmt: skip
            assert changed <= {"Lease"}
            tasks.cancel_scope.cancel()
        dump = life.client.server.dump()
        life.client = life.open()
        assert life.client.server.dump() == dump
        async with anyio.create_task_group() as tasks:
            await tasks.start(life.run)
            await anyio.sleep(60)
            assert await life.state_of() == "Ready"
            uid = (await life.client.read(WORKSPACE, REF))["metadata"]["uid"]
            await life.client.delete(WORKSPACE, REF, uid=uid)
            with anyio.fail_after(READY_WITHIN_S), pytest.raises(NotFound):
                await life.until("Gone")
            await anyio.sleep(120)
            assert [await life.all(kind) for kind in (NODE_CLAIM, NODE, STATEFUL_SET, POD)] == [[], [], [], []]
            tasks.cancel_scope.cancel()

    live(scenario, emulate)
