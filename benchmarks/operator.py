"""`python -m benchmarks.operator`: what 1,000 Workspaces cost an operator, beside a kopf operator of the same logic.

Each has a local cluster of its own over HTTPS (`kaito local up --no-operator --pods instant`, stages without delay).
Both run at the same time, so that whatever else the machine does troubles both alike; all Workspaces are created at
once. CPU is of the operator's process, from the first create until all are ready; memory is resident, then. Converged:
nothing is written to the API server during a minute. The figures for writes are ours. Instant pods have no log to read
a measurement from, so the Workspaces ask for none. Both must leave the same behind: conditions, stages and fields of
every status, and the children.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from kaito.api.core import SERVICE
from kaito.api.names import DISABLE_BENCHMARK_ANNOTATION
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import CONTROLLER_REVISION, POD_DISRUPTION_BUDGET, STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.kube.adapter import KubernetesAsyncioClient

WORKSPACES = 1_000
AT_ONCE = 32
READY_WITHIN_S = 3_000.0
SETTLE_S = 10.0  # quiet for so long: the Events that were on their way (at most 256, five a second) have come
SETTLE_WITHIN_S = 180.0
QUIET_S = 60.0
STAGES = (
    "launch",
    "register",
    "node-ready",
    "device-plugin",
    "initialize",
    "image-pull",
    "container-start",
    "model-load",
)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PEER = "benchmarks.peers.kopf_operator"
CHILDREN = (NODE_CLAIM, SERVICE, POD_DISRUPTION_BUDGET, STATEFUL_SET, CONTROLLER_REVISION)
SKU = "Standard_NC24ads_A100_v4"


@dataclass(frozen=True, slots=True)
class Result:
    cpu_s: float
    rss_mb: float
    wall_s: float
    planned: int
    created: int
    writes: float  # 0 where they are not counted
    writes_converged: int
    outcome: Counter[str]  # what is left behind → how often


@contextmanager
def local_cluster(folder: Path) -> Iterator[Path]:
    command = [sys.executable, "-m", "kaito", "local", "up", "--no-operator", "--pods", "instant", "--port", "0"]
    command += ["--dir", str(folder), *(f"--delay={stage}=0" for stage in STAGES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "is up at" in line:
                break
        yield folder / "kubeconfig"
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def operator(name: str, kubeconfig: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    if name == "kopf":
        command = ["-m", "kopf", "run", "-m", PEER, "--all-namespaces", "--standalone", "--quiet"]
    else:
        command = ["-m", "kaito", "operator", "--kubeconfig", str(kubeconfig), "--no-leader-elect"]
        command += ["--metrics-bind-address", "127.0.0.1:0", "--log-format", "json"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command], stderr=file, stdout=file, env=os.environ | {"KUBECONFIG": str(kubeconfig)}
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def workspace(name: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {DISABLE_BENCHMARK_ANNOTATION: "true"},
        },
        "resource": {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": name}}},
        "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
    }


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[KubernetesAsyncioClient]:
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    try:
        yield client
    finally:
        await client.aclose()


async def listed(client: KubernetesAsyncioClient, kind: Any) -> list[dict[str, Any]]:
    found, token = [], ""
    while True:
        page = msgspec.json.decode(await client.list_page(kind, continue_=token))
        found += page["items"]
        token = page["metadata"].get("continue") or ""
        if not token:
            return found


async def until_ready(client: KubernetesAsyncioClient, count: int) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while True:
        states = [(item.get("status") or {}).get("state") for item in await listed(client, WORKSPACE)]
        if states.count("Ready") == count:
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{states.count('Ready')} of {count} ready after {READY_WITHIN_S:.0f} s")
        await asyncio.sleep(2 + count / 100)  # a list of thousands keeps the cluster from its work


async def load(name: str, count: int) -> Result:
    with tempfile.TemporaryDirectory() as folder, local_cluster(Path(folder)) as kubeconfig:
        log = Path(folder) / f"{name}.log"
        with operator(name, kubeconfig, log) as process:
            async with connected(kubeconfig) as client:
                await client.create(WORKSPACE, "default", workspace("first"))  # until it is up
                await until_ready(client, 1)
                spent_s, began_s = cpu_s(process.pid), time.monotonic()
                gate = asyncio.Semaphore(AT_ONCE)

                async def create(index: int) -> None:
                    async with gate:
                        await client.create(WORKSPACE, "default", workspace(f"ws-{index:05d}"))

                await asyncio.gather(*(create(index) for index in range(count)))
                await until_ready(client, count + 1)
                wall_s = time.monotonic() - began_s
                spent_s, memory_mb = cpu_s(process.pid) - spent_s, rss_mb(process.pid)
                changes = Changes(Path(folder) / "changes.jsonl")
                await changes.settle()
                late = await changes.within(QUIET_S)
                planned = sum(item["status"]["targetNodeCount"] for item in await listed(client, WORKSPACE))
                created = set(re.findall(r'"kind":"NodeClaim"[^\n]*?"uid":"([^"]+)"', changes.path.read_text()))
                alive = {claim["metadata"]["uid"] for claim in await listed(client, NODE_CLAIM)}
                writes = await written(port_of(log)) if name == "kaito" else 0.0
                outcome = await left_behind(client)
        return Result(spent_s, memory_mb, wall_s, planned, len(created | alive), writes, late, outcome)


class Changes:
    """The changes that the local cluster has written down, but those of Leases: machines renew theirs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def settle(self) -> None:
        deadline_s = time.monotonic() + SETTLE_WITHIN_S
        while await self.within(SETTLE_S) and time.monotonic() < deadline_s:
            pass

    async def within(self, seconds: float) -> int:
        """How many there are in the next seconds. The file is compacted now and then, and then begins anew."""
        with self.path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            await asyncio.sleep(seconds)
            return sum(b'"Lease"' not in line for line in file)


async def left_behind(client: KubernetesAsyncioClient) -> Counter[str]:
    """Of every Workspace: conditions, stages and fields of its status; and what children there are."""
    found: Counter[str] = Counter()
    for item in await listed(client, WORKSPACE):
        status = item["status"]
        conditions = sorted(f"{each['type']}={each['status']}" for each in status["conditions"])
        stages = [stage["stage"] for stage in status["timeline"]]
        found[f"Workspace {conditions} {stages} {sorted(status)} {status['state']} {len(status['workerNodes'])}"] += 1
    for kind in CHILDREN:
        found[kind.kind] = sum(
            not any(owner["kind"] == "StatefulSet" for owner in child["metadata"].get("ownerReferences") or ())
            for child in await listed(client, kind)
        )
    return found


async def written(port: int) -> float:
    """Writes that the operator counts in its metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("kaito_writes_total"))


def port_of(log: Path) -> int:
    return int(json.loads(log.read_text().splitlines()[0])["port"])


def compare(count: int) -> None:
    names = ("kaito", "kopf")
    with ThreadPoolExecutor() as pool:  # each has a loop of its own: one waits for its processes while the other works
        found = dict(zip(names, pool.map(lambda name: asyncio.run(load(name, count)), names), strict=True))
    for name, one in found.items():
        print(
            f"{name:>6}: {one.cpu_s * 1e3 / count:.1f} ms of CPU a Workspace, {one.rss_mb:.0f} MB, all ready after "
            f"{one.wall_s:.0f} s, {one.created} NodeClaims for {one.planned} planned",
            flush=True,
        )
    ours, peer = found["kaito"], found["kopf"]
    if ours.outcome != peer.outcome:
        raise SystemExit(f"the two leave different things behind:\n  {ours.outcome}\n  {peer.outcome}")
    result = {
        "cpu_s_per_workspace": round(ours.cpu_s / count, 4),
        "cpu_s_per_workspace_kopf": round(peer.cpu_s / count, 4),
        "rss_mb": round(ours.rss_mb, 1),
        "rss_mb_kopf": round(peer.rss_mb, 1),
        "writes_per_workspace": round(ours.writes / (count + 1), 2),
        "writes_converged": ours.writes_converged,
        "nodeclaims_planned": ours.planned,
        "nodeclaims_created": ours.created,
        "ratio_cpu": round(peer.cpu_s / ours.cpu_s, 2),
        "ratio_rss": round(peer.rss_mb / ours.rss_mb, 2),
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    parser.add_argument("--workspaces", type=int, default=WORKSPACES, metavar="N", help="default: 1000")
    compare(parser.parse_args().workspaces)


if __name__ == "__main__":
    main()
