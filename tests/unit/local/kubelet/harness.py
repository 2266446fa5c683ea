"""A kubelet that starts real processes, beside a cluster in memory; all on the machine's own clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio

from kaito.api.core import CONFIG_MAP, EVENT, NODE, POD, SECRET
from kaito.api.meta import Json
from kaito.local.kubelet.images import Images
from kaito.local.kubelet.kubelet import KubeletSettings, RealKubelet
from kaito.local.kubelet.logs import LogRequest
from kaito.local.kubelet.model_environment import model_environment
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import NO_DELAYS, Fault, RobotSettings
from tests.unit.local.robots.cluster import CoreCluster

IMAGE = "known:1"
DEADLINE_S = 30.0


@dataclass
class Laptop:
    cluster: CoreCluster
    kubelet: RealKubelet
    directory: Path

    async def until(self, is_met: Callable[[], Any]) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not is_met():
                await self.cluster.wake.wait()

    async def run(self, name: str, *containers: Json, **spec: Any) -> None:
        """Creates a pod that is bound to the node."""
        body = {
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"nodeName": "n1", "containers": list(containers)} | spec,
        }
        await self.cluster.create(POD, "default", body)

    async def config_map(self, name: str, **data: str) -> None:
        await self.cluster.create(
            CONFIG_MAP, "default", {"metadata": {"name": name, "namespace": "default"}, "data": data}
        )

    async def secret(self, name: str, **data: str) -> None:
        await self.cluster.create(SECRET, "default", {"metadata": {"name": name, "namespace": "default"}, "data": data})

    async def delete(self, name: str, *, grace_s: int | None = None) -> None:
        pod = self.cluster.get(POD, name)
        if grace_s is not None:
            pod["spec"]["terminationGracePeriodSeconds"] = grace_s
        await self.cluster.delete(POD, POD.ref("default", name), uid=pod["metadata"]["uid"])
        await self.until(lambda: POD.ref("default", name) not in self.cluster.store(POD))

    def status(self, name: str) -> Json:
        return dict(self.cluster.get(POD, name)["status"])

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase"))

    def container(self, name: str, index: int = 0, *, key: str = "containerStatuses") -> Json:
        found = self.status(name).get(key) or []
        return dict(found[index]) if index < len(found) else {"state": {}, "lastState": {}}

    def is_ready(self, name: str) -> bool:
        conditions = self.status(name).get("conditions") or []
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def waits_for(self, name: str, reason: str) -> bool:
        return bool((self.container(name)["state"].get("waiting") or {}).get("reason") == reason)

    def log(self, name: str, run: int = 0, container: str = "main") -> str:
        worker = self.kubelet.worker("default", name)
        assert worker is not None
        lines = worker.context.sandbox.log_path(container, run).read_text().splitlines()
        return "\n".join(line.partition(" ")[2] for line in lines)

    async def first_line(self, name: str) -> str:
        """The first line that the pod's container writes."""
        worker = self.kubelet.worker("default", name)
        assert worker is not None and worker.containers[0].log is not None
        with anyio.fail_after(DEADLINE_S):
            async with aclosing(worker.containers[0].log.stream(LogRequest(is_followed=True))) as lines:
                async for line in lines:
                    return line.decode().strip()
        raise AssertionError("the container ended without a line")

    def pids(self) -> list[int]:
        """The process groups of all containers."""
        return [int(path.read_text()) for path in sorted(self.directory.glob("pods/*/containers/*/pid"))]

    def events(self, reason: str) -> list[str]:
        return [event["message"] for event in self.cluster.all(EVENT) if event["reason"] == reason]


def python(script: str, *args: str, **more: Any) -> Json:
    """A container that runs a script."""
    return {"name": "main", "image": IMAGE, "command": ["python", "-S", "-c", script], "args": list(args)} | more


def architecture_of(model: str) -> str:
    return {"org/tiny": "TinyForCausalLM"}.get(model, "")


@asynccontextmanager
async def laptop(directory: Path, *faults: Fault, **settings: Any) -> AsyncIterator[Laptop]:
    cluster = CoreCluster(lambda: datetime.now(UTC))
    node = {
        "metadata": {"name": "n1", "labels": {"node.kubernetes.io/instance-type": "x"}, "annotations": {}},
        "spec": {"providerID": "kaito-local:///n1"},
        "status": {"capacity": {}, "allocatable": {}},
    }
    await cluster.create(NODE, "", node)
    chosen = {
        "delays": NO_DELAYS,
        "crash_backoff_s": 0.05,
        "crash_backoff_max_s": 0.2,
        "reference_retry_s": 0.05,
        "is_strict": True,
    } | settings
    made: list[RealKubelet] = []

    def kubelet(world: Any, robot_settings: RobotSettings) -> RealKubelet:
        environment = partial(model_environment, weights=None, architecture_of=architecture_of)
        found = RealKubelet(world, robot_settings, KubeletSettings(directory, Images({"known:*": ()}), environment))
        made.append(found)
        return found

    async def run(*, task_status: Any) -> None:
        await run_robots(
            cluster,
            RobotSettings(faults=faults, **chosen),
            now=cluster.now,
            rng=Random(1),
            only=("kubelet",),
            kubelet=kubelet,
            task_status=task_status,
        )

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        scene = Laptop(cluster, made[0], directory)
        try:
            yield scene
        finally:
            tasks.cancel_scope.cancel()
