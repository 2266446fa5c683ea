"""local_cluster: API server core, HTTP face, robots and operator as one thing that starts and stops.

The nesting is the order of the end: the operator stops first, then the robots (the kubelet stops its pods with grace,
and their last words still reach the API server), then the HTTP face, and last what is on disk is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.abc

from kaito.api.meta import Json
from kaito.clock import Clock, wall_clock
from kaito.kube.client import KubeClient
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.kubeconfig import write_kubeconfig
from kaito.local.kubelet.images import Images
from kaito.local.kubelet.instant import InstantKubelet
from kaito.local.kubelet.kubelet import KubeletSettings, RealKubelet
from kaito.local.kubelet.logs import LogRequest
from kaito.local.kubelet.model_environment import model_environment
from kaito.local.kubelet.service_names import nowhere
from kaito.local.kubelet.service_proxy import ServiceProxy
from kaito.local.persist import Change, State, StateLog
from kaito.local.robots.controller import Robot
from kaito.local.robots.run import RobotFactory, run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.world import World
from kaito.plan.catalog import find_preset

Start: TypeAlias = Callable[..., Coroutine[Any, Any, object]]  # to be started in a task group: takes `task_status`


@dataclass(frozen=True, slots=True)
class Served:
    """Where the API server listens, and what a client needs to be let in."""

    url: str
    token: str
    ca_pem: str


class Parts(Protocol):
    """The pieces that a cluster is made of, so that tests can put others in their place."""

    def open_core(
        self, settings: ClusterSettings, state: State, record: Callable[[list[Change]], None], now: Clock
    ) -> KubeClient:
        """The API server in process, with this state; every change is recorded before it is seen."""
        ...

    def serve(
        self, settings: ClusterSettings, client: KubeClient, pods: Runtime
    ) -> AbstractAsyncContextManager[Served]:
        """The core over HTTPS for as long as the block lasts."""
        ...

    async def run_operator(self, kubeconfig: Path, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """The operator, as if it ran elsewhere: it knows the kubeconfig alone."""
        ...


class Runtime:
    """Where pods listen and what they wrote, for the HTTP face; empty until the kubelet has started."""

    def __init__(self) -> None:
        self.kubelet: RealKubelet | None = None
        self.services: ServiceProxy | None = None

    def resolve(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Where a pod's port really listens; None for a pod that does not run here."""
        worker = self.kubelet.worker(namespace, pod) if self.kubelet else None
        return worker.context.address.local(port) if worker else None

    async def service_address(self, namespace: str, name: str, port: int, *, may_come: bool) -> str:
        """Where a Service's port listens; empty where it does not (see `ServiceProxy.address`)."""
        return await self.services.address(namespace, name, port, may_come=may_come) if self.services else ""

    def log(self, pod: Json, container: str, request: LogRequest, *, previous: bool = False) -> AsyncIterator[bytes]:
        """The lines of a container's log that the request asks for. Raises LookupError that says why there are none."""
        if self.kubelet is None:
            name = pod["metadata"]["name"]
            raise LookupError(
                f'container "{container}" in pod "{name}" is no process here (--pods instant): it has no log'
            )
        return self.kubelet.log(pod, container, request, previous=previous)


@dataclass(frozen=True, slots=True)
class Cluster:
    client: KubeClient
    served: Served
    settings: ClusterSettings


@asynccontextmanager
async def local_cluster(
    settings: ClusterSettings, parts: Parts, *, now: Clock = wall_clock, rng: Random | None = None
) -> AsyncIterator[Cluster]:
    """A running cluster. Raises what a part raises; leaves no process, port or kubeconfig behind."""
    log = StateLog(settings.directory) if settings.is_persistent else None
    try:
        state = log.load() if log else State()
        client = parts.open_core(settings, state, log.append if log else lambda _: None, now)
        runtime = Runtime()
        async with parts.serve(settings, client, runtime) as served:
            write_kubeconfig(settings.kubeconfig, server=served.url, token=served.token, ca_pem=served.ca_pem)
            try:
                async with _running(_robots(settings, client, runtime, now, rng or Random())):
                    async with _running(_operator(settings, parts)):
                        yield Cluster(client, served, settings)
            finally:
                settings.kubeconfig.unlink(missing_ok=True)
    finally:
        if log is not None:
            log.compact()


@asynccontextmanager
async def _running(start: Start | None) -> AsyncIterator[None]:
    """The task beside the block, from when it says that it has started until the block ends."""
    if start is None:
        yield
        return
    async with anyio.create_task_group() as tasks:
        await tasks.start(start)
        yield
        tasks.cancel_scope.cancel()


def _operator(settings: ClusterSettings, parts: Parts) -> Start | None:
    return partial(parts.run_operator, settings.kubeconfig) if settings.has_operator else None


def _robots(settings: ClusterSettings, client: KubeClient, runtime: Runtime, now: Clock, rng: Random) -> Start:
    kubelet = kubelet_of(settings, runtime)

    def services(world: World, robots: RobotSettings) -> Robot:
        runtime.services = ServiceProxy(world, robots, runtime.resolve)
        return runtime.services

    beside = (services,) if settings.pods == "real" else ()
    return partial(
        run_robots, client, settings.robots, now=now, rng=rng, only=settings.only, kubelet=kubelet, beside=beside
    )


def kubelet_of(settings: ClusterSettings, runtime: Runtime | None = None) -> RobotFactory:
    """The kubelet that the settings ask for; `runtime` is told of one that runs processes."""
    if settings.pods == "instant":
        return InstantKubelet

    def make(world: World, robots: RobotSettings) -> Robot:
        environment = partial(model_environment, weights=settings.weights, architecture_of=architecture_of)
        service_address = runtime.service_address if runtime is not None else nowhere
        chosen = KubeletSettings(settings.directory, Images(settings.known_images), environment, service_address)
        found = RealKubelet(world, robots, chosen)
        if runtime is not None:
            runtime.kubelet = found
        return found

    return make


def architecture_of(model: str) -> str:
    """The architecture of a model of the catalogue; empty for any other."""
    preset = find_preset(model)
    return preset.architecture if preset else ""
