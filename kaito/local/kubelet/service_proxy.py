"""The service proxy: every Service's ports, listening on loopback and forwarding to the pods behind it.

Where the Service's clusterIP is a loopback address it listens there; elsewhere on an address of 127.89.0.0/16, or,
where only 127.0.0.1 exists, on ports of it. Where it listens is written on the Service: nobody need guess.
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


@dataclass(slots=True)
class Listening:
    """The open listeners of one Service, by port name, and what it takes to close them."""

    ports: tuple[tuple[str, int], ...]
    addresses: dict[str, str] = field(default_factory=dict)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    closed: anyio.Event = field(default_factory=anyio.Event)


class ServiceProxy:
    """`resolve(namespace, pod, port)` says where a pod's port really listens."""

    name = "service-proxy"
    kinds: tuple[ResourceKind, ...] = (SERVICE, ENDPOINTS)

    def __init__(self, world: World, settings: RobotSettings, resolve: Resolve) -> None:
        self._world = world
        self._resolve = resolve
        self._open: dict[ObjectRef, Listening] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._turn = 0
        self._next_host = 0

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
        wanted = _ports(service) if service is not None and not is_deleting(service) else ()
        found = self._open.get(key)
        if found is not None and found.ports != wanted:
            found.scope.cancel()
            await found.closed.wait()
            del self._open[key]
            found = None
        if not wanted or service is None:
            return None
        if found is None:
            found = self._open[key] = await self._listen(key, service, wanted)
        text = _shown(found.addresses)
        if (service["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION) != text:
            await self._world.patch(SERVICE, service, {"metadata": {"annotations": {ADDRESS_ANNOTATION: text}}})
        return None

    async def _listen(self, key: ObjectRef, service: Json, wanted: tuple[tuple[str, int], ...]) -> Listening:
        assert self._tasks is not None
        listening = Listening(wanted)
        listeners = await self._bind_all(service, wanted, listening)
        self._tasks.start_soon(self._serve, key, listening, listeners)
        return listening

    async def _bind_all(
        self, service: Json, wanted: tuple[tuple[str, int], ...], listening: Listening
    ) -> dict[str, anyio.abc.Listener[anyio.abc.SocketStream]]:
        host = self._host(service)
        listeners: dict[str, anyio.abc.Listener[anyio.abc.SocketStream]] = {}
        for name, port in wanted:
            listener = await _bind(host, port)
            if listener is not None:
                listeners[name] = listener
                bound = listener.extra(anyio.abc.SocketAttribute.local_port)
                listening.addresses[name] = f"{host}:{bound}"
        return listeners

    def _host(self, service: Json) -> str:
        cluster_ip = str(service["spec"].get("clusterIP") or "")
        if sys.platform != "linux":
            return LOCALHOST
        if cluster_ip and ip_address(cluster_ip).is_loopback:
            return cluster_ip
        self._next_host += 1
        return f"{PREFIX}.{self._next_host // 254 % 254}.{1 + self._next_host % 254}"

    async def _serve(
        self, key: ObjectRef, listening: Listening, listeners: dict[str, anyio.abc.Listener[anyio.abc.SocketStream]]
    ) -> None:
        try:
            with listening.scope:
                async with anyio.create_task_group() as tasks:
                    for name, listener in listeners.items():
                        tasks.start_soon(self._serve_port, key, name, listener)
        finally:
            with anyio.CancelScope(shield=True):
                for listener in listeners.values():
                    await listener.aclose()
            listening.closed.set()

    async def _serve_port(
        self, key: ObjectRef, name: str, listener: anyio.abc.Listener[anyio.abc.SocketStream]
    ) -> None:
        limiter = anyio.Semaphore(CONNECTIONS_MAX)

        async def connection(stream: anyio.abc.SocketStream) -> None:
            async with limiter, stream:
                await self._forward(key, name, stream)

        await listener.serve(connection)

    async def _forward(self, key: ObjectRef, name: str, stream: anyio.abc.SocketStream) -> None:
        """To one of the ready pods, each in its turn; the connection is closed where there is none."""
        targets = self._targets(key, name)
        self._turn += 1
        for index in range(len(targets)):
            host, port = targets[(self._turn + index) % len(targets)]
            try:
                with anyio.fail_after(CONNECT_TIMEOUT_S):
                    target = await anyio.connect_tcp(host, port)
            except (OSError, TimeoutError):
                continue  # the next one may answer
            async with target:
                try:
                    await forward(stream, target)
                except BROKEN as error:
                    log.debug("connection_broken", service=str(key), error=str(error))
            return

    def _targets(self, key: ObjectRef, name: str) -> list[tuple[str, int]]:
        endpoints = self._world.get(ENDPOINTS, key.namespace, key.name) or {}
        found: list[tuple[str, int]] = []
        for subset in endpoints.get("subsets") or []:
            for port in subset.get("ports") or []:
                if (port.get("name") or "") == name:
                    found += [self._place(key, address, port["port"]) for address in subset.get("addresses") or []]
        return found

    def _place(self, key: ObjectRef, address: Json, port: int) -> tuple[str, int]:
        pod = (address.get("targetRef") or {}).get("name") or ""
        return self._resolve(key.namespace, pod, port) or (address["ip"], port)


def _ports(service: Json) -> tuple[tuple[str, int], ...]:
    """Name and number of what the Service offers; nothing where it is headless or only a name."""
    spec = service["spec"]
    if spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName":
        return ()
    ports = spec.get("ports") or []
    return tuple((port.get("name") or "", int(port["port"])) for port in ports if port.get("protocol", "TCP") == "TCP")


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
