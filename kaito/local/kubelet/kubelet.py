"""The kubelet that starts processes: a worker per pod, and the pod's status from what its worker knows."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio
import anyio.abc

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import rfc3339
from kaito.local.kubelet.addresses import PodAddress, reserve
from kaito.local.kubelet.context import ModelEnvironment, PodContext
from kaito.local.kubelet.images import Images
from kaito.local.kubelet.logs import LogRequest
from kaito.local.kubelet.pod import PodWorker, grace_of
from kaito.local.kubelet.pod_log import pod_log
from kaito.local.kubelet.records import pod_status
from kaito.local.kubelet.references import Reference, read_reference
from kaito.local.kubelet.sandbox import PID_FILE, Roots, Sandbox
from kaito.local.kubelet.service_names import AddressOf, nowhere
from kaito.local.robots.events import emit
from kaito.local.robots.machine_agent import is_node_ready
from kaito.local.robots.machine_node import is_ours
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.world import World, is_deleting

STOP_GRACE_S = 10.0  # for all pods together, when the kubelet itself is told to stop
HOST_ADDRESS = "127.0.0.1"
# Beside a real API server: nobody listens there, and a real control plane may publish it (TEST-NET-1).
HIDDEN_HOST_ADDRESS = "192.0.2.1"


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """`directory` holds everything that pods leave on disk."""

    directory: Path
    images: Images
    model_environment: ModelEnvironment
    service_address: AddressOf = nowhere


class RealKubelet:
    name = "kubelet"
    kinds: tuple[ResourceKind, ...] = (POD, NODE)

    def __init__(self, world: World, settings: RobotSettings, kubelet: KubeletSettings) -> None:
        self._world = world
        self._settings = settings
        self._kubelet = kubelet
        directory = kubelet.directory
        self._roots = Roots(directory / "pods", directory / "machines", directory / "claims")
        self._workers: dict[ObjectRef, PodWorker] = {}
        self._stopping: set[ObjectRef] = set()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._enqueue: Callable[[ObjectRef], None] = lambda _: None

    def bind(self, enqueue: Callable[[ObjectRef], None]) -> None:
        """Gets the way to ask for a reconcile."""
        self._enqueue = enqueue

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hosts the workers; cancelled, it stops every pod within STOP_GRACE_S and returns when all are gone."""
        for path in (self._roots.pods, self._roots.machines, self._roots.claims):
            path.mkdir(parents=True, exist_ok=True)
        clear_leftovers(self._roots.pods)
        told = anyio.Event()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._host, told)
            task_status.started()
            try:
                await anyio.sleep(math.inf)
            finally:
                told.set()

    async def _host(self, told: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Workers live in a shield: when the kubelet is cancelled, their containers are stopped, not torn down."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                await told.wait()
                await self._stop_all()

    async def _stop_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for worker in list(self._workers.values()):
                tasks.start_soon(worker.stop, min(STOP_GRACE_S, grace_of(worker.context.pod)))

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        return self._workers.get(POD.ref(namespace, name))

    def log(self, pod: Json, container: str, request: LogRequest, *, previous: bool) -> AsyncIterator[bytes]:
        """The lines of a container's log that the request asks for. Raises LookupError that says why there are none."""
        worker = self.worker(pod["metadata"]["namespace"], pod["metadata"]["name"])
        if worker is not None and worker.context.pod["metadata"]["uid"] != pod["metadata"]["uid"]:
            worker = None
        return pod_log(worker, Sandbox(self._roots, pod), pod, container, request, previous=previous)

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == POD:
            if obj["spec"].get("nodeName"):
                yield POD.ref(obj["metadata"]["namespace"], obj["metadata"]["name"])
        elif new is not None and (old is None or is_node_ready(old) != is_node_ready(new)):
            for pod in self._world.pods_on(new["metadata"]["name"]):
                yield POD.ref(pod["metadata"]["namespace"], pod["metadata"]["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        pod, worker = self._world.find(POD, key), self._workers.get(key)
        if worker is not None and (pod is None or worker.context.pod["metadata"]["uid"] != pod["metadata"]["uid"]):
            await self._retire(key, worker, 0.0)  # the object is gone: so is its grace
            worker = None
        if pod is None or not self._is_mine(pod):
            return None
        if is_deleting(pod):
            return await self._end(key, pod, worker)
        if worker is None:
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                return None
            worker = self._start(key, pod)
        worker.context.pod = pod
        await self._report(pod, worker)
        return None

    def _is_mine(self, pod: Json) -> bool:
        """Whether the pod is on a machine of ours whose kubelet works."""
        node = self._world.get(NODE, "", pod["spec"].get("nodeName") or "")
        return node is not None and is_ours(node) and is_node_ready(node)

    def _start(self, key: ObjectRef, pod: Json) -> PodWorker:
        assert self._tasks is not None
        worker = PodWorker(self._context(key, pod))
        self._workers[key] = worker
        self._tasks.start_soon(worker.run, name=str(key))
        return worker

    async def _end(self, key: ObjectRef, pod: Json, worker: PodWorker | None) -> float | None:
        """Stops the pod's containers, shows how they ended, and lets the object go."""
        if worker is not None:
            worker.context.pod = pod
            if key not in self._stopping and self._tasks is not None:
                self._stopping.add(key)
                self._tasks.start_soon(worker.stop, grace_of(pod))
            await self._report(pod, worker)
            if not worker.done.is_set():
                return None
        self._forget(key, worker)
        Sandbox(self._roots, pod).remove()
        await self._world.delete(POD, self._world.find(POD, key) or pod, grace_s=0)
        return None

    async def _retire(self, key: ObjectRef, worker: PodWorker, grace_s: float) -> None:
        await worker.stop(grace_s)
        self._forget(key, worker)
        worker.context.sandbox.remove()

    def _forget(self, key: ObjectRef, worker: PodWorker | None) -> None:
        if self._workers.get(key) is worker:
            self._workers.pop(key, None)
        self._stopping.discard(key)

    async def _report(self, pod: Json, worker: PodWorker) -> None:
        now, (inits, containers) = self._world.now(), worker.records()
        status = pod_status(
            pod,
            inits,
            containers,
            now=now,
            start_time=(pod.get("status") or {}).get("startTime") or rfc3339(now),
            address=worker.context.address.ip if self._settings.publish_addresses else "",
            host_address=HOST_ADDRESS if self._settings.publish_addresses else HIDDEN_HOST_ADDRESS,
        )
        await self._world.patch_status(POD, pod, status)

    def _context(self, key: ObjectRef, pod: Json) -> PodContext:
        async def tell(type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
            await emit(self._world, "kubelet", POD, pod, type_, reason, message)

        meta = pod["metadata"]
        return PodContext(
            pod=pod,
            sandbox=Sandbox(self._roots, pod),
            address=_address(pod),
            images=self._kubelet.images,
            settings=self._settings,
            now=self._world.now,
            chance=self._world.chance("kubelet", meta["uid"]),
            read=self._reader(meta["namespace"]),
            model_environment=self._kubelet.model_environment,
            service_address=self._kubelet.service_address,
            changed=lambda: self._enqueue(key),
            tell=tell,
        )

    def _reader(self, namespace: str) -> Callable[[Reference], Awaitable[dict[str, bytes] | None]]:
        async def read(reference: Reference) -> dict[str, bytes] | None:
            return await read_reference(self._world.client, namespace, reference)

        return read


def _address(pod: Json) -> PodAddress:
    containers = pod["spec"].get("containers") or []
    ports = [int(port["containerPort"]) for one in containers for port in one.get("ports") or []]
    return reserve(ports, preferred=(pod.get("status") or {}).get("podIP") or "")


def clear_leftovers(pods: Path) -> None:
    """Kills what a kubelet that was killed has left behind: process groups whose environment names their pod."""
    for path in pods.glob(f"*/containers/*/{PID_FILE}"):
        uid, text = path.parents[2].name.rpartition("_")[2], path.read_text()
        if text.isdecimal() and _belongs(int(text), uid):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(text), signal.SIGKILL)
        path.unlink(missing_ok=True)


def _belongs(pid: int, uid: str) -> bool:
    """Whether a process of this group is the pod's. Where /proc does not say, it is not."""
    try:
        return f"KAITO_POD_UID={uid}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
