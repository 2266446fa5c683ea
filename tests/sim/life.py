"""Life: an API server's core, the robots and one or more replicas of the operator, on virtual time; a seed replays."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import trio
from trio.testing import MockClock

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, LEASE
from kaito.api.crds import node_claim_crd, node_pool_crd, workspace_crd
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.names import LABEL_WORKSPACE
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.hub.desk import Desk
from kaito.kube.leadership import LOCK_NAME, Leadership, LeaseLost
from kaito.local.apiserver import ApiServer, Commit
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from tests.builders import START, workspace
from tests.sim.faults import Faulty
from tests.sim.hub import SimulatedHub

NAMESPACE = "kaito-workspace"
RESTART_S = 2.0


@dataclass(slots=True)
class Replica:
    """One process of the operator: its present life, and what it has written in all of them."""

    name: str
    client: Faulty
    operator: Operator | None = None
    leadership: Leadership | None = None
    process: anyio.CancelScope | None = None
    clock_skew: timedelta = timedelta(0)
    lives: int = 0
    writes: list[tuple[str, str]] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)  # writes while it did not lead


class Life:
    """`replicas` > 1 elect a leader; a single one leads alone."""

    def __init__(self, seed: int, replicas: int = 1, emulate: tuple[int, int] = (1, 36)) -> None:
        self.rng, self._start_s, ids = Random(seed), anyio.current_time(), itertools.count()
        self.server = ApiServer(now=self.now, new_uid=lambda: f"uid-{next(ids)}", emulate=emulate)
        self.server.start()
        self.server.on_commit = self._count
        self.client = LocalClient(self.server)
        self.claims_max: Counter[str] = Counter()  # by Workspace
        self.settings = PlanSettings()  # of the operators that are started from now on
        self.is_elected = replicas > 1
        self.hub = SimulatedHub(Random(f"hub/{seed}"), "org/tiny")
        self.replicas = [self._replica(f"replica-{number}", Random(seed + 1 + number)) for number in range(replicas)]

    def _replica(self, name: str, rng: Random) -> Replica:
        replica = Replica(name, Faulty(self.client, rng, wrote=lambda verb, ref: self._wrote(replica, verb, ref)))
        return replica

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time() - self._start_s)

    @property
    def operator(self) -> Operator:
        """The one that leads."""
        found = self.replicas[0].operator if not self.is_elected else self._leader()
        assert found is not None
        return found

    def _leader(self) -> Operator | None:
        leaders = [r.operator for r in self.replicas if r.leadership and r.leadership.is_leader]
        return leaders[0] if len(leaders) == 1 else None

    def holder(self) -> str:
        lease = self.server.store.get(("coordination.k8s.io", "leases"), (NAMESPACE, LOCK_NAME))
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""

    def _wrote(self, replica: Replica, verb: str, ref: ObjectRef) -> None:
        if ref.kind == LEASE.kind:
            return
        replica.writes.append((verb, str(ref)))
        if self.is_elected and self.holder() != replica.name:
            replica.breaches.append(f"{replica.name} wrote {ref} while {self.holder() or 'nobody'} led")

    def all(self, kind: ResourceKind) -> list[Json]:
        return [obj for _, obj in sorted(self.server.store.objects.get((kind.group, kind.plural), {}).items())]

    def one(self, kind: ResourceKind, name: str, namespace: str = "default") -> Json | None:
        return self.server.store.get((kind.group, kind.plural), (namespace if kind.namespaced else "", name))

    def state(self, name: str = "phi") -> str:
        return str(((self.one(WORKSPACE, name) or {}).get("status") or {}).get("state", ""))

    def _count(self, commit: Commit) -> None:
        if commit.kind != (NODE_CLAIM.group, NODE_CLAIM.plural) or commit.new is None:
            return
        live = [c for c in [*self.all(NODE_CLAIM), commit.new] if not c["metadata"].get("deletionTimestamp")]
        labels = {c["metadata"]["name"]: c["metadata"]["labels"] for c in live}
        names = {name: owner for name, found in labels.items() if (owner := found.get(LABEL_WORKSPACE))}
        self.claims_max |= Counter(names.values())

    def strikes(self) -> Counter[str]:
        return sum((replica.client.strikes for replica in self.replicas), Counter())

    def be_faulty(self, is_faulty: bool) -> None:
        for replica in self.replicas:
            replica.client.is_faulty = is_faulty

    async def until(self, is_met: Callable[[], bool], within_s: float) -> None:
        with anyio.fail_after(within_s):
            while not is_met():  # noqa: ASYNC110 (virtual time)
                await anyio.sleep(1)

    async def apply(self, name: str = "phi", preset: str = "phi-3.5-mini-instruct") -> None:
        body = workspace(name, preset=preset, finalizer=False)
        body["metadata"] = {"name": name, "namespace": "default"}
        await self.client.create(WORKSPACE, "default", body)

    async def restart(self) -> None:
        """Ends the processes of all replicas, and waits for those that take their place."""
        for replica in self.replicas:
            assert replica.process is not None
            replica.process.cancel()
        lives = [replica.lives for replica in self.replicas]
        await self.until(lambda: all(r.lives > n for r, n in zip(self.replicas, lives, strict=True)), 60)

    async def run_replica(self, replica: Replica) -> None:
        """A process that is started again when it ends, as a Deployment does."""
        while True:
            replica.lives += 1
            try:
                await self._one_life(replica)
            except* LeaseLost:
                pass
            replica.operator = replica.leadership = None
            await anyio.sleep(RESTART_S)

    async def _one_life(self, replica: Replica) -> None:
        def now() -> datetime:
            return self.now() + replica.clock_skew

        rng = Random(f"{replica.name}/{replica.lives}/{self.rng.random()}")
        leadership = Leadership(
            replica.client,  # type: ignore[arg-type]
            namespace=NAMESPACE,
            identity=replica.name,
            now=now,
            rng=rng,
            changed=lambda: operator.runner.wake(),  # noqa: PLW0108 (made below)
        )
        may_write = leadership.may_write if self.is_elected else lambda _deadline_s: True
        desk = Desk(self.hub, Random(f"desk/{replica.name}/{replica.lives}"))
        operator = Operator(replica.client, self.settings, now=now, rng=rng, hub=desk, may_write=may_write)  # type: ignore[arg-type]
        replica.operator, replica.leadership = operator, leadership
        async with anyio.create_task_group() as tasks:
            replica.process = tasks.cancel_scope
            if self.is_elected:
                await tasks.start(leadership.run)
            tasks.start_soon(operator.run)


def live(
    scenario: Callable[[Life], Awaitable[Any]],
    *,
    seed: int = 0,
    replicas: int = 1,
    emulate: tuple[int, int] = (1, 36),
) -> Any:
    """Runs a scenario beside the replicas and the robots on virtual time, and ends them with it."""

    async def main() -> Any:
        life = Life(seed, replicas, emulate)
        for crd in (workspace_crd(), node_claim_crd(), node_pool_crd()):
            await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        await life.client.create(
            ResourceKind("", "v1", "Namespace", "namespaces", False), "", {"metadata": {"name": NAMESPACE}}
        )
        robots = RobotSettings(cluster_minor=emulate[1])

        async def start(*, task_status: Any) -> None:
            client = LocalClient(life.server, manager="robots")
            await run_robots(client, robots, now=life.now, rng=life.rng, task_status=task_status)

        async with anyio.create_task_group() as tasks:
            await tasks.start(start)
            for replica in life.replicas:
                tasks.start_soon(life.run_replica, replica)
            result = await scenario(life)
            tasks.cancel_scope.cancel()
        return result

    # Fixed order of tasks within a step, so that a seed replays.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    return trio.run(main, clock=MockClock(autojump_threshold=0))
