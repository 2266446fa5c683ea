"""`python -m benchmarks.watch`: what one watch event costs from the socket to the updated graph, and one cached pod.

Three clients read the same stream in turn, each in a process of its own, several times: ours (Stream → StateGraph),
kubernetes-asyncio's typed Watch and its Watch on CustomObjects (both keep the object that they get in a dict). The
stream first adds every pod, then changes one after the other; only the changes are timed. µs are of CPU, user and
system, of the reading process; the figures are medians over the rounds. KB are of private memory, per pod held.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.kubeconfig import kubeconfig as kubeconfig_text
from benchmarks.stream_server import serve
from benchmarks.synthetic import pod, watch_line

PODS = 10_000
WORKSPACES = 5_000
CHANGES = {"ours": 40_000, "custom": 20_000, "typed": 3_000}
ROUNDS = 3


class Meter:
    """Told of every event taken in: after the last pod was added memory is read and the clocks start."""

    def __init__(self, changes: int) -> None:
        self.finished = asyncio.Event()
        self._changes, self._seen = changes, 0
        self._kb_before = private_kb()
        self._cpu_s = self._wall_s = self.kb_per_pod = 0.0

    def tick(self) -> None:
        self._seen += 1
        if self._seen == PODS:
            self.kb_per_pod = (private_kb() - self._kb_before) / PODS
            self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()
        elif self._seen == PODS + self._changes:
            self._cpu_s, self._wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s
            self.finished.set()

    def report(self) -> dict[str, float]:
        return {
            "us": self._cpu_s * 1e6 / self._changes,
            "events_per_s": self._changes / self._wall_s,
            "kb": self.kb_per_pod,
        }


def private_kb() -> float:
    """Memory that is this process's alone, in KiB, after a collection."""
    gc.collect()
    found = re.findall(r"^Private_\w+:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    return float(sum(map(int, found)))


async def ours(kubeconfig: Path, changes: int) -> dict[str, float]:
    from kaito.api.core import POD
    from kaito.kube.adapter import KubernetesAsyncioClient
    from kaito.state.events import WatchEvent
    from kaito.state.graph import StateGraph
    from kaito.watchers.stream import Stream

    graph = StateGraph()
    client = await KubernetesAsyncioClient.connect(kubeconfig)
    meter = Meter(changes)

    def receive(event: WatchEvent) -> None:
        graph.apply(POD, event)
        meter.tick()

    stream = Stream(client, graph.rows[POD], receive, rng=Random(0))
    for event in stream.machine.receive_page(b'{"metadata":{"resourceVersion":"1"},"items":[]}'):
        graph.apply(POD, event)

    reading = asyncio.create_task(stream.run())
    await meter.finished.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert len(graph.stores[POD]) == PODS
    await client.aclose()
    return meter.report()


async def peer(kubeconfig: Path, changes: int, *, is_typed: bool) -> dict[str, float]:
    from kubernetes_asyncio import client, config, watch

    await config.load_kube_config(str(kubeconfig))
    async with client.ApiClient() as api:
        watcher = watch.Watch()
        if is_typed:
            events = watcher.stream(client.CoreV1Api(api).list_pod_for_all_namespaces)
        else:
            events = watcher.stream(client.CustomObjectsApi(api).list_cluster_custom_object, "kaito.sh", "v1", "pods")
        return await _follow(events, Meter(changes))


async def _follow(events: AsyncIterator[dict[str, Any]], meter: Meter) -> dict[str, float]:
    cache: dict[tuple[str, str], Any] = {}
    async for event in events:
        obj = event["object"]
        metadata = obj["metadata"] if isinstance(obj, dict) else obj.metadata
        key = (
            (metadata["namespace"], metadata["name"])
            if isinstance(metadata, dict)
            else (metadata.namespace, metadata.name)
        )
        cache[key] = obj
        meter.tick()
        if meter.finished.is_set():
            break
    await events.close()  # type: ignore[attr-defined]
    assert len(cache) == PODS
    return meter.report()


def lines() -> list[bytes]:
    added = [watch_line("ADDED", pod(index, index, workspaces=WORKSPACES)) for index in range(PODS)]
    versions = range(PODS, PODS + max(CHANGES.values()))
    return added + [watch_line("MODIFIED", pod(v % PODS, v, workspaces=WORKSPACES)) for v in versions]


async def serve_stream() -> None:
    port_is: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(lines(), port_is))
    print(await port_is, flush=True)
    await serving


def measure(client: str, kubeconfig: Path) -> dict[str, float]:
    """One round of one client, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.watch", "--client", client, "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare() -> None:
    serving = subprocess.Popen([sys.executable, "-m", "benchmarks.watch", "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        port = int(serving.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            kubeconfig = Path(folder) / "kubeconfig"
            kubeconfig.write_text(kubeconfig_text(f"http://127.0.0.1:{port}"))
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CHANGES}
            for _ in range(ROUNDS):
                for name in CHANGES:
                    rounds[name].append(measure(name, kubeconfig))
    finally:
        serving.kill()
        serving.wait()
    median = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }
    size = len(watch_line("MODIFIED", pod(0, PODS, workspaces=WORKSPACES)))
    print(f"{PODS} pods of {WORKSPACES} Workspaces, {size} bytes an event, {ROUNDS} rounds each")
    for name, found in median.items():
        print(f"{name:>8} {found['us']:8.1f} µs {found['events_per_s']:9.0f} events/s {found['kb']:6.1f} KB a pod")
    us = {name: found["us"] for name, found in median.items()}
    result = {
        "us_per_event": round(us["ours"], 2),
        "us_per_event_typed": round(us["typed"], 1),
        "us_per_event_custom": round(us["custom"], 1),
        "ratio_typed": round(us["typed"] / us["ours"], 1),
        "ratio_custom": round(us["custom"] / us["ours"], 2),
        "kb_per_pod": round(median["ours"]["kb"], 2),
        "kb_per_pod_typed": round(median["typed"]["kb"], 2),
        "events_per_s": round(median["ours"]["events_per_s"]),
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch", description=__doc__)
    parser.add_argument("--client", choices=tuple(CHANGES), help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve_stream())
    elif args.client == "ours":
        print(json.dumps(asyncio.run(ours(args.kubeconfig, CHANGES["ours"]))))
    elif args.client:
        changes = CHANGES[args.client]
        print(json.dumps(asyncio.run(peer(args.kubeconfig, changes, is_typed=args.client == "typed"))))
    else:
        compare()


if __name__ == "__main__":
    main()
