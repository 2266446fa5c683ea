"""run_robots: watch what the robots read, and let each one reconcile. Ends only by cancellation."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import TypeAlias

import anyio
import anyio.abc

from kaito.api.meta import ResourceKind
from kaito.clock import Clock
from kaito.kube.client import KubeClient
from kaito.local.kubelet.instant import InstantKubelet
from kaito.local.robots.controller import Drive, Host, Robot
from kaito.local.robots.deployment import DeploymentController
from kaito.local.robots.endpoints import EndpointsController
from kaito.local.robots.job import JobController
from kaito.local.robots.leases import Leases
from kaito.local.robots.machine_agent import MachineAgent
from kaito.local.robots.machines import Machine, find_machine
from kaito.local.robots.node_lifecycle import NodeLifecycle
from kaito.local.robots.provisioner import Provisioner
from kaito.local.robots.replica_set import ReplicaSetController
from kaito.local.robots.scheduler import Scheduler
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.stateful_set import StatefulSetController
from kaito.local.robots.watching import follow
from kaito.local.robots.world import World

KubeletFactory: TypeAlias = Callable[[World, RobotSettings], Robot]

# What stands in for a control plane, and what stands in for machines and clouds. `leases` is not in the embedded set: a
# converged local cluster is quiet.
CONTROL_PLANE = ("scheduler", "statefulset", "deployment", "replicaset", "job", "endpoints", "node-lifecycle")
MACHINES = ("provisioner", "kubelet")
EMBEDDED: tuple[str, ...] = CONTROL_PLANE + MACHINES
ALL_ROBOTS: tuple[str, ...] = (*EMBEDDED, "leases")
SCHEDULER_CONCURRENCY = 1  # two pods placed at once would both take the last GPU


def build_robots(
    names: Collection[str],
    world: World,
    settings: RobotSettings,
    *,
    kubelet: KubeletFactory = InstantKubelet,
    machine_of: Callable[[str], Machine | None] = find_machine,
) -> list[Robot]:
    """The robots of these names, in the order of the roster."""
    roster: dict[str, Callable[[], tuple[Robot, ...]]] = {
        "provisioner": lambda: (Provisioner(world, settings, machine_of),),
        "kubelet": lambda: (MachineAgent(world, settings), kubelet(world, settings)),
        "scheduler": lambda: (Scheduler(world, settings),),
        "statefulset": lambda: (StatefulSetController(world, settings),),
        "deployment": lambda: (DeploymentController(world),),
        "replicaset": lambda: (ReplicaSetController(world),),
        "job": lambda: (JobController(world),),
        "endpoints": lambda: (EndpointsController(world),),
        "node-lifecycle": lambda: (NodeLifecycle(world),),
        "leases": lambda: (Leases(world, settings),),
    }
    return [robot for name, make in roster.items() if name in names for robot in make()]


KINDS_OF: dict[str, tuple[ResourceKind, ...]] = {
    "provisioner": Provisioner.kinds,
    "kubelet": InstantKubelet.kinds,
    "scheduler": Scheduler.kinds,
    "statefulset": StatefulSetController.kinds,
    "deployment": DeploymentController.kinds,
    "replicaset": ReplicaSetController.kinds,
    "job": JobController.kinds,
    "endpoints": EndpointsController.kinds,
    "node-lifecycle": NodeLifecycle.kinds,
    "leases": Leases.kinds,
}


async def run_robots(
    client: KubeClient,
    settings: RobotSettings,
    *,
    now: Clock,
    rng: Random,
    only: Collection[str] = EMBEDDED,
    kubelet: KubeletFactory = InstantKubelet,
    machine_of: Callable[[str], Machine | None] = find_machine,
    task_status: anyio.abc.TaskStatus[World] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the robots named by `only` for ever. `task_status` is told, with the World, when all kinds are listed."""
    unknown = sorted(set(only) - set(KINDS_OF))
    if unknown:
        raise ValueError(f"unknown robots {', '.join(unknown)}; choose from {', '.join(KINDS_OF)}")
    kinds = list(dict.fromkeys(kind for name in KINDS_OF if name in only for kind in KINDS_OF[name]))
    world = World(client, now=now, rng=rng, kinds=kinds)
    robots = build_robots(only, world, settings, kubelet=kubelet, machine_of=machine_of)
    async with anyio.create_task_group() as tasks:
        for robot in robots:
            concurrency = SCHEDULER_CONCURRENCY if robot.name == "scheduler" else settings.concurrency
            drive = Drive(robot, world, concurrency=concurrency, is_strict=settings.is_strict)
            if isinstance(robot, Host):
                robot.bind(drive.enqueue)
                await tasks.start(robot.run, name=f"{robot.name} host")
            tasks.start_soon(drive.run, name=f"robot {robot.name}")
        for kind in kinds:
            tasks.start_soon(follow, client, kind, world.receive, name=f"follow {kind.plural}")
        await world.wait_synced(kinds)
        task_status.started(world)
