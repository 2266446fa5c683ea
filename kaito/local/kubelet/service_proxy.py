"""The service proxy: every Service's ports, listening on loopback and forwarding to the pods behind it.

Where the Service's clusterIP is a loopback address it listens there; elsewhere on an address of 127.89.0.0/16, or,
where only 127.0.0.1 exists, on ports of it. Where it listens is written on the Service: nobody need guess.

There is no DNS: a process that names a Service is told its address when it starts (`service_names`). The Service may
come later than the process, as it may in a cluster, so an address that was told stands from then on.
"""

from __future__ import annotations

import errno
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeAlias

import anyio
import anyio.abc
import structlog

from kaito.api.core import ENDPOINTS, SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.kubelet.forward import BROKEN, forward
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.world import World, is_deleting

ADDRESS_ANNOTATION = "local.kaito.sh/address"  # `127.89.0.1:80`, or `http=127.89.0.1:80,ray=…` where there are several
PREFIX = "127.89"
LOCALHOST = "127.0.0.1"
UNPRIVILEGED_OFFSET = 8_000  # port 80 becomes 8080 where a user may not listen on it
CONNECTIONS_MAX = 512  # of one port at a time; more wait in the listener's backlog
CONNECT_TIMEOUT_S = 5.0

Resolve: TypeAlias = Callable[[str, str, int], tuple[str, int] | None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """One open port of a Service: where it is, and what it takes to close it."""

    address: str
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    closed: anyio.Event = field(default_factory=anyio.Event)

    async def close(self) -> None:
        self.scope.cancel()
        await self.closed.wait()


class ServiceProxy:
    """`resolve(namespace, pod, port)` says where a pod's port really listens."""

    name = "service-proxy"
    kinds: tuple[ResourceKind, ...] = (SERVICE, ENDPOINTS)

    def __init__(self, world: World, settings: RobotSettings, resolve: Resolve) -> None:
        self._world = world
        self._resolve = resolve
        self._open: dict[tuple[ObjectRef, int], Listening] = {}
        self._told: set[tuple[ObjectRef, int]] = set()  # to processes, which go on to use the address
        self._hosts: dict[ObjectRef, str] = {}
        self._opening = anyio.Lock()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._turn = 0

    def bind(self, enqueue: Callable[[ObjectRef], None]) -> None:
        """Asks for no reconciles of its own."""

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep(math.inf)

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        if kind == SERVICE:  # Endpoints are looked up when a connection comes
            meta = (new or old or {})["metadata"]
            yield SERVICE.ref(meta["namespace"], meta["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        service = self._world.find(SERVICE, key)
        wanted = _ports(service) if service is not None and not is_deleting(service) else {}
        for ref, port in [each for each in self._open if each[0] == key]:
            if port not in wanted.values() and (ref, port) not in self._told:
                await self._open.pop((ref, port)).close()
        if not wanted or service is None:
            return None
        listening = {name: await self._listen(key, port) for name, port in wanted.items()}
        text = _shown({name: found.address for name, found in listening.items() if found is not None})
        if (service["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION) != text:
            await self._world.patch(SERVICE, service, {"metadata": {"annotations": {ADDRESS_ANNOTATION: text}}})
        return None

    async def address(self, namespace: str, name: str, port: int, *, may_come: bool) -> str:
        """`host:port` where the Service's port listens; empty where it does not. `may_come`: or where it will."""
        key = SERVICE.ref(namespace, name)
        found = self._world.find(SERVICE, key)
        if port not in _ports(found).values() if found is not None else not may_come:
            return ""
        listening = await self._listen(key, port)
        if listening is None:
            return ""
        self._told.add((key, port))
        return listening.address

    async def _listen(self, key: ObjectRef, port: int) -> Listening | None:
        """The open port; None where it cannot be opened."""
        assert self._tasks is not None
        async with self._opening:
            if found := self._open.get((key, port)):
                return found
            host = self._host(key)
            listener = await _bind(host, port)
            if listener is None:
                return None
            bound = listener.extra(anyio.abc.SocketAttribute.local_port)
            found = self._open[key, port] = Listening(f"{host}:{bound}")
            self._tasks.start_soon(self._serve, key, port, found, listener)
            return found

    def _host(self, key: ObjectRef) -> str:
        """The address of a Service is its own for as long as the cluster runs."""
        if sys.platform != "linux":
            return LOCALHOST
        service = self._world.find(SERVICE, key) or {"spec": {}}
        cluster_ip = str(service["spec"].get("clusterIP") or "")
        if cluster_ip not in ("", "None") and ip_address(cluster_ip).is_loopback:
            return cluster_ip
        index = len(self._hosts) + 1
        return self._hosts.setdefault(key, f"{PREFIX}.{index // 254 % 254}.{1 + index % 254}")

    async def _serve(
        self, key: ObjectRef, port: int, listening: Listening, listener: anyio.abc.Listener[anyio.abc.SocketStream]
    ) -> None:
        limiter = anyio.Semaphore(CONNECTIONS_MAX)

        async def connection(stream: anyio.abc.SocketStream) -> None:
            async with limiter, stream:
                await self._forward(key, port, stream)

        try:
            with listening.scope:
                await listener.serve(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
            listening.closed.set()

    async def _forward(self, key: ObjectRef, port: int, stream: anyio.abc.SocketStream) -> None:
        """To one of the ready pods, each in its turn; the connection is closed where there is none."""
        targets = self._targets(key, port)
        self._turn += 1
        for index in range(len(targets)):
            host, number = targets[(self._turn + index) % len(targets)]
            try:
                with anyio.fail_after(CONNECT_TIMEOUT_S):
                    target = await anyio.connect_tcp(host, number)
            except (OSError, TimeoutError):
                continue  # the next one may answer
            async with target:
                try:
                    await forward(stream, target)
                except BROKEN as error:
                    log.debug("connection_broken", service=str(key), error=str(error))
            return

    def _targets(self, key: ObjectRef, number: int) -> list[tuple[str, int]]:
        names = [name for name, port in _ports(self._world.find(SERVICE, key)).items() if port == number]
        endpoints = self._world.get(ENDPOINTS, key.namespace, key.name) or {}
        found: list[tuple[str, int]] = []
        for subset in endpoints.get("subsets") or []:
            for port in subset.get("ports") or []:
                if (port.get("name") or "") in names:
                    found += [self._place(key, address, port["port"]) for address in subset.get("addresses") or []]
        return found

    def _place(self, key: ObjectRef, address: Json, port: int) -> tuple[str, int]:
        pod = (address.get("targetRef") or {}).get("name") or ""
        return self._resolve(key.namespace, pod, port) or (address["ip"], port)


def _ports(service: Json | None) -> dict[str, int]:
    """Name → number of what the Service offers; nothing where there is none, it is headless, or only a name."""
    spec = service["spec"] if service is not None else {}
    if spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName":
        return {}
    ports = spec.get("ports") or []
    return {port.get("name") or "": int(port["port"]) for port in ports if port.get("protocol", "TCP") == "TCP"}


async def _bind(host: str, port: int) -> anyio.abc.Listener[anyio.abc.SocketStream] | None:
    """A listener on the port, on the unprivileged one in its place, or on any; None where the address is not ours."""
    for candidate in (port, port + UNPRIVILEGED_OFFSET if port < 1024 else 0, 0):
        try:
            return await anyio.create_tcp_listener(local_host=host, local_port=candidate)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EADDRINUSE):
                log.warning("service_not_reachable", host=host, port=candidate, error=str(error))
                return None
    return None


def _shown(addresses: dict[str, str]) -> str:
    if len(addresses) == 1:
        return next(iter(addresses.values()))
    return ",".join(f"{name}={address}" for name, address in addresses.items())


def address_of(service: Json, port_name: str = "http") -> str:
    """`host:port` where a port of the Service listens on this machine; empty while nothing does."""
    text = (service["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION) or ""
    if "=" not in text:
        return text
    return dict(part.split("=", 1) for part in text.split(",")).get(port_name, "")
