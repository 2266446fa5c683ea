"""The whole operator and the robots on virtual time, over an in-memory API server that misbehaves on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import LABEL_WORKSPACE
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.kube.client import ALL, Discovery, Scope
from kaito.kube.errors import Conflict, Gone, ServerError, Throttled, Unreachable
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.invariants import check
from kaito.state.kinds import KINDS
from tests.builders import START, workspace
from tests.unit.local.robots.fake_cluster import FakeCluster

REF = WORKSPACE.ref("default", "phi")
STORMY = {"phi": ("phi-3.5-mini-instruct", 1), "llama": ("llama-3.3-70b-instruct", 3)}  # name → model, machines
SEEDS = 50
FAULTS_UNTIL_S = 300.0
CONVERGES_WITHIN_S = 900.0
AN_HOUR_S = 3_600.0
FAULT_RATE = 0.15


class Server(FakeCluster):
    """An API server that serves every kind that we watch."""

    async def discover(self) -> Discovery:
        kinds = [row.kind for row in KINDS]
        return Discovery(1, 36, frozenset((kind.group, kind.version, kind.plural) for kind in kinds))


class Faulty:
    """A client whose requests fail, linger or lie (F2-F9) until a given time; the writes of the operator alone."""

    def __init__(self, server: Server, rng: Random) -> None:
        self._server, self._rng = server, rng
        self.writes: list[tuple[str, str]] = []
        self.is_faulty = True
        self.strikes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def _strikes(self) -> bool:
        does = self.is_faulty and self._rng.random() < FAULT_RATE
        self.strikes += does
        return does

    async def _disturb(self) -> None:
        if self._strikes():
            await anyio.sleep(self._rng.uniform(0, 10))
        if self._strikes():
            raise self._rng.choice(
                [
                    Throttled("slow down", retry_after_s=self._rng.uniform(0, 5)),
                    ServerError("etcd has no leader"),
                    Unreachable("connection reset"),
                ]
            )

    async def _write(self, verb: str, ref: object, send: Callable[[], Awaitable[Any]]) -> Any:
        await self._disturb()
        if verb != "create" and self._strikes():
            raise Conflict("the object has been modified")
        self.writes.append((verb, str(ref)))
        answer = await send()
        if self._strikes():
            raise Unreachable("the answer was lost")  # F9: it was carried out all the same
        return answer

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        await self._disturb()
        if self._strikes():
            raise Gone("the continue token has expired")
        return await self._server.list_page(kind, scope, limit=limit, continue_=continue_)

    def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(kind, scope, resource_version, timeout_s)

    @asynccontextmanager
    async def _watch(
        self, kind: ResourceKind, scope: Scope, version: str, timeout_s: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._disturb()
        if self._strikes():
            raise Gone("too old resource version")
        async with self._server.open_watch(kind, scope, resource_version=version, timeout_s=timeout_s) as chunks:
            yield self._spoil(chunks)

    async def _spoil(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if self._strikes():
                await anyio.sleep(self._rng.uniform(0, 60))  # F2: a view that lags
            if self._strikes():
                yield chunk  # F3: twice
            if self._strikes():
                yield self._rng.choice(
                    [
                        b"{not json\n",
                        b'{"type":"ERROR","object":{"code":410}}\n',
                        b'{"type":"ERROR","object":{"code":500}}\n',
                    ]
                )
            if self._strikes():
                raise Unreachable("connection reset")
            cut = self._rng.randrange(len(chunk))
            yield chunk[:cut]
            yield chunk[cut:]

    async def create(self, kind: ResourceKind, namespace: str, body: Json, **more: Any) -> Json:
        name = body["metadata"]["name"]
        return await self._write("create", name, lambda: self._server.create(kind, namespace, body, **more))

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, **more: Any) -> Json:
        return await self._write("patch", ref, lambda: self._server.merge_patch(kind, ref, patch, **more))

    async def delete(self, kind: ResourceKind, ref: ObjectRef, **more: Any) -> None:
        await self._write("delete", ref, lambda: self._server.delete(kind, ref, **more))


class Life:
    """One run: the server, the operator and what they have done so far."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.start_s = anyio.current_time()
        self.server = Server(self.now)
        self.client = Faulty(self.server, Random(seed + 1))
        self.operator = Operator(self.client, PlanSettings(), now=self.now, rng=Random(seed + 2))  # type: ignore[arg-type]
        self.claims_max: Counter[str] = Counter()  # by Workspace

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time() - self.start_s)

    def state(self, name: str = "phi") -> str:
        body = self.server.store(WORKSPACE).get(WORKSPACE.ref("default", name)) or {}
        return str((body.get("status") or {}).get("state", ""))

    def count_claims(self) -> None:
        live = [c for c in self.server.all(NODE_CLAIM) if not c["metadata"].get("deletionTimestamp")]
        self.claims_max |= Counter(c["metadata"]["labels"][LABEL_WORKSPACE] for c in live)

    async def until(self, is_met: Callable[[], bool], within_s: float) -> None:
        with anyio.fail_after(within_s):
            while not is_met():
                await self.server.wake.wait()
                self.count_claims()


def live(scenario: Callable[[Life], Awaitable[Any]], *, seed: int = 0) -> Any:
    """Runs a scenario beside operator and robots on virtual time, and ends them with it."""

    async def main() -> Any:
        life = Life(seed)
        async with anyio.create_task_group() as tasks:
            robots = RobotSettings()
            await tasks.start(
                lambda task_status: run_robots(life.server, robots, now=life.now, rng=life.rng, task_status=task_status)
            )  # type: ignore[arg-type]
            tasks.start_soon(life.operator.run)
            result = await scenario(life)
            tasks.cancel_scope.cancel()
        return result

    # Fixed order of tasks within a step, so that a seed replays.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    return trio.run(main, clock=MockClock(autojump_threshold=0))


async def apply(life: Life, name: str = "phi", preset: str = "phi-3.5-mini-instruct") -> None:
    body = workspace(name, preset=preset, finalizer=False)
    body["metadata"] = {"name": name, "namespace": "default"}
    await life.server.create(WORKSPACE, "default", body)


def test_a_workspace_becomes_ready_and_then_the_cluster_is_quiet() -> None:
    async def scenario(life: Life) -> None:
        life.client.is_faulty = False
        await apply(life)
        await life.until(lambda: life.state() == "Ready", CONVERGES_WITHIN_S)
        await anyio.sleep(60)
        writes = len(life.client.writes)
        await anyio.sleep(AN_HOUR_S)
        assert life.client.writes[writes:] == []
        assert check(life.operator.graph) == []
        status = life.server.get(WORKSPACE, "phi")["status"]
        assert status["targetNodeCount"] == 1 and status["blockers"] == []
        assert len(life.server.all(NODE_CLAIM)) == len(life.server.all(NODE)) == len(life.server.all(POD)) == 1

    live(scenario)


def test_a_deleted_workspace_leaves_no_machine_behind() -> None:
    async def scenario(life: Life) -> None:
        life.client.is_faulty = False
        await apply(life)
        await life.until(lambda: life.state() == "Ready", CONVERGES_WITHIN_S)
        uid = life.server.get(WORKSPACE, "phi")["metadata"]["uid"]
        await life.server.delete(WORKSPACE, REF, uid=uid)
        await life.until(lambda: REF not in life.server.store(WORKSPACE), CONVERGES_WITHIN_S)
        await anyio.sleep(60)
        assert life.server.all(NODE_CLAIM) == [] == life.server.all(NODE)

    live(scenario)


def test_a_machine_that_vanishes_is_replaced_once() -> None:
    async def scenario(life: Life) -> None:
        life.client.is_faulty = False
        await apply(life)
        await life.until(lambda: life.state() == "Ready", CONVERGES_WITHIN_S)
        (claim,) = life.server.all(NODE_CLAIM)
        ref = NODE_CLAIM.ref("", claim["metadata"]["name"])
        await life.server.delete(NODE_CLAIM, ref, uid=claim["metadata"]["uid"])
        await life.until(lambda: life.state() == "NotReady", CONVERGES_WITHIN_S)
        await life.until(lambda: life.state() == "Ready", CONVERGES_WITHIN_S)
        (after,) = life.server.all(NODE_CLAIM)
        assert after["metadata"]["uid"] != claim["metadata"]["uid"]

    live(scenario)


async def _stormy(life: Life) -> list[tuple[str, str]]:
    for name, (preset, _) in STORMY.items():
        await apply(life, name, preset)
    with anyio.move_on_after(FAULTS_UNTIL_S):
        await life.until(lambda: False, FAULTS_UNTIL_S * 2)
    life.client.is_faulty = False
    assert life.client.strikes >= 10, "a storm that never struck proves nothing"
    await life.until(lambda: all(life.state(name) == "Ready" for name in STORMY), CONVERGES_WITHIN_S)
    await anyio.sleep(120)
    writes = len(life.client.writes)
    await anyio.sleep(AN_HOUR_S)
    assert life.client.writes[writes:] == [], "a converged cluster sees no write"
    assert life.claims_max == {name: count for name, (_, count) in STORMY.items()}, "never more machines than asked for"
    assert check(life.operator.graph) == [], "the graph equals a rebuilt one"
    assert len(life.server.all(STATEFUL_SET)) == len(STORMY)
    assert len(life.operator.expectations) == 0 and len(life.operator.runner.queue) <= len(STORMY), "bounded"
    return life.client.writes


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_any_storm_the_cluster_converges_safely_and_is_quiet(seed: int) -> None:
    live(_stormy, seed=seed)


def test_a_seed_replays_exactly() -> None:
    assert live(_stormy, seed=7) == live(_stormy, seed=7)
