"""`python -m benchmarks.reaction`: how soon the operator acts, and whether the size of the cluster slows it down.

The operator is the real process (`kaito operator`), its API server a stub in this one. *Reaction*: with 500 Workspaces
whose nodes are ready but for their GPUs, the GPUs of one node after the other become allocatable; timed from the moment
before the event is written to the socket until the request that creates the workload has arrived, so both ways through
the kernel and two HTTP stacks are in it. *CPU per event*: news of a node that reaches its Workspace's planner and
changes nothing, at a steady pace, over 50 and over 5,000 Workspaces; user and system time of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.api_stub import ApiStub
from benchmarks.kubeconfig import kubeconfig
from kaito.api.meta import ResourceKind
from kaito.api.names import LABEL_WORKSPACE, LABEL_WORKSPACE_NAMESPACE
from kaito.state.kinds import KINDS

Json = dict[str, Any]
SKU = "Standard_NC24ads_A100_v4"
REACTION_WORKSPACES = 500
EVENT_WORKSPACES = (50, 5_000)
EVENTS = 4_000
EVENTS_PER_S = 400
TURNS = 8
QUIET_S = 1.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Scene:
    """The stub with `count` Workspaces, each with its claim and its node; the operator process on it."""

    def __init__(self, count: int) -> None:
        kinds: list[ResourceKind] = [row.kind for row in KINDS]
        self.stub = ApiStub(kinds, self._written)
        self.count, self.pid = count, 0
        self.last_write_s = time.monotonic()
        self._awaited: dict[str, asyncio.Future[float]] = {}
        for index in range(count):
            self.stub.put("workspaces", _workspace(index))
            self.stub.put("nodeclaims", _claim(index))
            self.stub.put("nodes", _node(index, gpus=0, beat=0))

    def _written(self, method: str, plural: str, name: str, at_s: float) -> None:
        self.last_write_s = at_s
        if method == "POST" and plural == "statefulsets" and name in self._awaited:
            self._awaited.pop(name).set_result(at_s)

    async def quiet(self) -> None:
        """Until the operator has listed everything and has nothing more to do."""
        watched = ("workspaces", "nodeclaims", "nodes", "services")
        while not all(self.stub.is_watched(plural) for plural in watched):  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.1)
        spent_s = -1.0
        while self.cpu_s() - spent_s > TICK_S or time.monotonic() - self.last_write_s < QUIET_S:
            spent_s = self.cpu_s()
            await asyncio.sleep(QUIET_S)

    async def reaction_s(self, index: int) -> float:
        created: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._awaited[_name(index)] = created
        began_s = time.monotonic()
        self.stub.put("nodes", _node(index, gpus=1, beat=1))
        return await asyncio.wait_for(created, 30) - began_s

    async def cpu_of_events_s(self, beats: range, rng: random.Random) -> float:
        """CPU that the process spends on news of random nodes at EVENTS_PER_S."""
        before_s, began_s = self.cpu_s(), time.monotonic()
        for number, beat in enumerate(beats, start=1):
            self.stub.put("nodes", _node(rng.randrange(self.count), gpus=0, beat=beat))
            await asyncio.sleep(max(0.0, began_s + number / EVENTS_PER_S - time.monotonic()))
        await asyncio.sleep(0.1)
        return self.cpu_s() - before_s

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def rss_mb(self) -> float:
        """Resident memory of the operator."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@asynccontextmanager
async def running(count: int) -> AsyncIterator[Scene]:
    scene = Scene(count)
    with tempfile.TemporaryDirectory() as folder:
        async with scene.stub.serving() as address:
            path = Path(folder) / "kubeconfig"
            path.write_text(kubeconfig(address))
            command = ["-m", "kaito", "operator", "--kubeconfig", str(path), "--no-leader-elect"]
            command += ["--metrics-bind-address", "127.0.0.1:0", "--log-format", "json"]
            with (Path(folder) / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=log, stderr=log)
                scene.pid = process.pid
                try:
                    await scene.quiet()
                    yield scene
                finally:
                    process.kill()
                    await process.wait()


async def compare() -> None:
    async with running(REACTION_WORKSPACES) as scene:
        reactions = []
        for index in range(REACTION_WORKSPACES):
            reactions.append(await scene.reaction_s(index) * 1e3)
            await asyncio.sleep(0.01)  # what follows the create (its event, the status) is not the next one's delay
    p50, p99 = statistics.median(reactions), statistics.quantiles(reactions, n=100)[98]
    print(f"{REACTION_WORKSPACES} Workspaces: GPU allocatable → workload create p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    few, many = await costs_us()
    result = {
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "us_per_event_50": round(few),
        "us_per_event_5000": round(many),
        "ratio": round(many / few, 2),
    }
    print(json.dumps(result))


async def costs_us() -> list[float]:
    """CPU per event at each size, measured in turns so that whatever else runs here troubles both alike."""
    rng, spent_s = random.Random(0), [0.0] * len(EVENT_WORKSPACES)
    async with AsyncExitStack() as stack:
        scenes = [await stack.enter_async_context(running(count)) for count in EVENT_WORKSPACES]
        for first in range(2, EVENTS + 2, EVENTS // TURNS):
            for number, scene in enumerate(scenes):
                spent_s[number] += await scene.cpu_of_events_s(range(first, first + EVENTS // TURNS), rng)
    costs = [spent * 1e6 / EVENTS for spent in spent_s]
    for count, cost in zip(EVENT_WORKSPACES, costs, strict=True):
        print(f"{count:>5} Workspaces: {cost:.0f} µs of CPU per event")
    return costs


def _name(index: int) -> str:
    return f"ws-{index:05d}"


def _meta(name: str, uid: str, **more: Any) -> Json:
    return {"name": name, "uid": uid, "generation": 1, "creationTimestamp": "2026-01-31T12:00:00Z"} | more


def _pair(index: int) -> Json:
    return {LABEL_WORKSPACE: _name(index), LABEL_WORKSPACE_NAMESPACE: "default", "apps": _name(index)}


def _workspace(index: int) -> Json:
    name = _name(index)
    return {
        "metadata": _meta(name, f"uid-{name}", namespace="default", finalizers=["workspace.finalizer.kaito.sh"]),
        "resource": {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": name}}},
        "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
    }


def _claim(index: int) -> Json:
    conditions = [_condition(kind) for kind in ("Launched", "Registered", "Initialized", "Ready")]
    annotations = {"kaito.sh/workspace-uid": f"uid-{_name(index)}"}
    return {
        "metadata": _meta(f"ws{index:010x}", f"uid-claim-{index}", labels=_pair(index), annotations=annotations),
        "spec": {"requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [SKU]}]},
        "status": {
            "nodeName": f"node-{index:05d}",
            "providerID": f"kaito://node-{index:05d}",
            "conditions": conditions,
        },
    }


def _node(index: int, *, gpus: int, beat: int) -> Json:
    """`beat` is news that changes no verdict."""
    name = f"node-{index:05d}"
    labels = {"node.kubernetes.io/instance-type": SKU, "kubernetes.io/hostname": name} | _pair(index)
    resources = {"cpu": "24", "memory": f"{220_000_000 + beat}Ki"}
    return {
        "metadata": _meta(name, f"uid-{name}", labels=labels),
        "spec": {"providerID": f"kaito://{name}"},
        "status": {
            "conditions": [_condition("Ready", "KubeletReady")],
            "capacity": resources | {"nvidia.com/gpu": "1"},
            "allocatable": resources | {"nvidia.com/gpu": str(gpus)},
        },
    }


def _condition(kind: str, reason: str = "") -> Json:
    return {
        "type": kind,
        "status": "True",
        "reason": reason or kind,
        "message": "",
        "lastTransitionTime": "2026-01-31T12:00:10Z",
    }


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.reaction", description=__doc__).parse_args()
    asyncio.run(compare())


if __name__ == "__main__":
    main()
