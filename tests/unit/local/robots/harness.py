"""Robots on virtual time: `live` runs a scenario beside them, and ends them with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import anyio
import trio
from trio.testing import MockClock

from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.local.robots.run import EMBEDDED, run_robots
from kaito.local.robots.settings import RobotSettings
from tests.builders import START
from tests.unit.local.robots.cluster import CoreCluster

SKU = "Standard_NC24ads_A100_v4"


class Scene:
    """The cluster, and what tests ask of it."""

    def __init__(self, cluster: CoreCluster, start_s: float) -> None:
        self.cluster = cluster
        self._start_s = start_s

    @property
    def elapsed_s(self) -> float:
        return anyio.current_time() - self._start_s

    async def until(self, is_met: Callable[[], bool], *, within_s: float = 3_600) -> float:
        """Waits for a state of the cluster; returns after how many seconds since the start it came."""
        with anyio.fail_after(within_s):
            while not is_met():
                await self.cluster.wake.wait()
        return self.elapsed_s

    async def settle(self, after_s: float = 30.0) -> None:
        """Lets so much time pass."""
        await anyio.sleep(after_s)

    async def make(self, kind: ResourceKind, body: Json) -> Json:
        return await self.cluster.create(kind, body["metadata"].get("namespace", ""), body)

    def find(self, kind: ResourceKind, name: str, namespace: str = "default") -> Json | None:
        return self.cluster.store(kind).get(kind.ref(namespace, name))

    def condition(self, kind: ResourceKind, name: str, type_: str) -> Json:
        obj = self.find(kind, name) or {}
        conditions = (obj.get("status") or {}).get("conditions") or []
        return next((item for item in conditions if item["type"] == type_), {})

    def is_true(self, kind: ResourceKind, name: str, type_: str) -> bool:
        return self.condition(kind, name, type_).get("status") == "True"

    def events(self, reason: str) -> list[str]:
        from kaito.api.core import EVENT

        return [event["message"] for event in self.cluster.all(EVENT) if event["reason"] == reason]


def live(
    scenario: Callable[[Scene], Awaitable[Any]],
    settings: RobotSettings | None = None,
    *,
    only: tuple[str, ...] = EMBEDDED,
    seed: int = 1,
) -> CoreCluster:
    """Runs the scenario beside the robots on a virtual clock and returns the cluster as it was left."""

    async def main() -> CoreCluster:
        start_s = anyio.current_time()
        cluster = CoreCluster(lambda: START + timedelta(seconds=anyio.current_time() - start_s))
        chosen = settings or RobotSettings(is_strict=True)
        async with anyio.create_task_group() as tasks:
            await tasks.start(robots_of(cluster, chosen, only, seed))
            await scenario(Scene(cluster, start_s))
            tasks.cancel_scope.cancel()
        return cluster

    # trio shuffles the order of tasks: its own seed belongs to the seed of the life.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio._core._run._r.seed(seed)
    return trio.run(main, clock=MockClock(autojump_threshold=0))


def robots_of(
    cluster: CoreCluster, settings: RobotSettings, only: tuple[str, ...], seed: int
) -> Callable[..., Awaitable[None]]:
    async def run(*, task_status: Any) -> None:
        await run_robots(
            cluster,
            settings,
            now=cluster.now,
            rng=Random(seed),
            only=only,
            task_status=task_status,
        )

    return run


def claim(name: str = "ws0123456789", instance_type: str = SKU) -> Json:
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": name, "labels": {"apps": "phi", "kaito.sh/workspace": "phi"}},
        "spec": {
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [instance_type]}],
        },
    }


async def ready_node(scene: Scene, name: str = "ws0123456789", instance_type: str = SKU) -> str:
    """A NodeClaim that has come all the way; returns its node's name."""
    await scene.make(NODE_CLAIM, claim(name, instance_type))
    await scene.until(lambda: scene.is_true(NODE_CLAIM, name, "Ready"))
    return str(scene.cluster.get(NODE_CLAIM, name)["status"]["nodeName"])


def pod_template(gpus: int = 1, labels: Json | None = None, **spec: Any) -> Json:
    devices = {"nvidia.com/gpu": str(gpus)}
    container = {"name": "server", "image": "server:1", "resources": {"requests": devices, "limits": devices}}
    return {
        "metadata": {"labels": labels or {"app": "server"}},
        "spec": {
            "containers": [container],
            "tolerations": [{"key": "sku", "operator": "Exists"}, {"key": "nvidia.com/gpu", "operator": "Exists"}],
        }
        | spec,
    }
