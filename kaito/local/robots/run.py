"""run_robots: watch what the robots read, and let each one reconcile. Ends only by cancellation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from random import Random
from typing import TypeAlias

import anyio
import anyio.abc

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
from kaito.local.robots.nodepools import NodePools
from kaito.local.robots.provisioner import Provisioner
from kaito.local.robots.replica_set import ReplicaSetController
from kaito.local.robots.scheduler import Scheduler
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.stateful_set import StatefulSetController
from kaito.local.robots.watching import follow
from kaito.local.robots.world import World

RobotFactory: TypeAlias = Callable[[World, RobotSettings], Robot]

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
    kubelet: RobotFactory,
    machine_of: Callable[[str], Machine | None],
) -> list[Robot]:
    """The robots of these names, in the order of the roster. Raises ValueError for a name that there is not."""
    roster: dict[str, Callable[[], tuple[Robot, ...]]] = {
        "provisioner": lambda: (NodePools(world, settings), Provisioner(world, settings, machine_of)),
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
    if unknown := sorted(set(names) - set(roster)):
        raise ValueError(f"unknown robots {', '.join(unknown)}; choose from {', '.join(roster)}")
    return [robot for name, make in roster.items() if name in names for robot in make()]


async def run_robots(
    client: KubeClient,
    settings: RobotSettings,
    *,
    now: Clock,
    rng: Random,
    only: Collection[str] = EMBEDDED,
    kubelet: RobotFactory = InstantKubelet,
    machine_of: Callable[[str], Machine | None] = find_machine,
    beside: Sequence[RobotFactory] = (),
    task_status: anyio.abc.TaskStatus[World] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the robots named by `only`, and those of `beside`, for ever.

    `task_status` is told, with the World, when all kinds that they read are listed.
    """
    world = World(client, now=now, rng=rng)
    robots = build_robots(only, world, settings, kubelet=kubelet, machine_of=machine_of)
    robots += [make(world, settings) for make in beside]
    for robot in robots:
        world.watch(robot.kinds)
    async with anyio.create_task_group() as tasks:
        for robot in robots:
            concurrency = SCHEDULER_CONCURRENCY if robot.name == "scheduler" else settings.concurrency
            drive = Drive(robot, world, concurrency=concurrency, is_strict=settings.is_strict)
            if isinstance(robot, Host):
                robot.bind(drive.enqueue)
                await tasks.start(robot.run, name=f"{robot.name} host")
            tasks.start_soon(drive.run, name=f"robot {robot.name}")
        for kind in world.kinds:
            stream = partial(follow, client, kind, world.receive, rng=world.chance("follow", kind.plural))
            tasks.start_soon(stream, name=f"follow {kind.plural}")
        await world.wait_synced(world.kinds)
        task_status.started(world)
