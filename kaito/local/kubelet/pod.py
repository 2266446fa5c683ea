"""PodWorker: one pod's life on this machine, from its sandbox to the end of its last container."""

from __future__ import annotations

import anyio
import anyio.abc
import structlog

from kaito.api.meta import Json
from kaito.local.kubelet.container import Container
from kaito.local.kubelet.context import PodContext
from kaito.local.kubelet.environment import ConfigError
from kaito.local.kubelet.records import ContainerRecord
from kaito.local.robots.controller import MALFORMED

GRACE_DEFAULT_S = 30.0

log = structlog.get_logger(__name__)


class PodWorker:
    """Runs init containers one after another, then the others side by side."""

    def __init__(self, context: PodContext) -> None:
        self.context = context
        self.done = anyio.Event()
        self._stopping = False
        self._preparing = anyio.CancelScope()
        spec, status = context.pod["spec"], context.pod.get("status") or {}
        before = _by_name(status.get("initContainerStatuses")), _by_name(status.get("containerStatuses"))
        inits = spec.get("initContainers") or []
        self.inits = [
            Container(context, one, before=before[0].get(one["name"]), is_init=True, is_waiting=index > 0)
            for index, one in enumerate(inits)
        ]
        self.containers = [
            Container(context, one, before=before[1].get(one["name"]), is_init=False, is_waiting=bool(inits))
            for one in spec.get("containers") or []
        ]

    def container(self, name: str) -> Container | None:
        return next((one for one in (*self.inits, *self.containers) if one.name == name), None)

    def records(self) -> tuple[list[ContainerRecord], list[ContainerRecord]]:
        """Of the init containers and of the others."""
        return [one.record for one in self.inits], [one.record for one in self.containers]

    async def run(self) -> None:
        """Returns when all containers are final. Cancelled, it leaves no process behind."""
        try:
            with self._preparing:
                await self._prepare()
            if not self._stopping:
                await self._run_containers()
        except MALFORMED as error:
            log.warning("object_malformed", pod=self.context.name, error=repr(error), exc_info=True)
            for one in self.containers:
                one.hold("CreateContainerConfigError", f"the pod's spec cannot be read: {error!r}")
        finally:
            self.context.address.release()
            self.done.set()
            self.context.changed()

    async def _prepare(self) -> None:
        """Makes the sandbox, once everything that its volumes refer to is there."""
        self.context.sandbox.make()
        while True:
            try:
                return await self.context.sandbox.make_volumes(self.context.read, self.context.address.ip)
            except ConfigError as error:
                words = f"MountVolume.SetUp failed: {error}"
                for one in self.containers:
                    one.hold("CreateContainerConfigError", str(error))
                await self.context.tell("Warning", "FailedMount", words)
                await anyio.sleep(self.context.settings.reference_retry_s)

    async def _run_containers(self) -> None:
        async with anyio.create_task_group() as sidecars:
            if await self._initialize(sidecars):
                async with anyio.create_task_group() as tasks:
                    for one in self.containers:
                        one.hold("ContainerCreating")
                        tasks.start_soon(one.run)
            for one in self.inits:
                if one.record.is_sidecar:
                    await one.stop(GRACE_DEFAULT_S)

    async def _initialize(self, sidecars: anyio.abc.TaskGroup) -> bool:
        """Whether all init containers have done their work."""
        for one in self.inits:
            one.hold("ContainerCreating")
            if one.record.is_sidecar:
                sidecars.start_soon(one.run)
                await one.wait_started()
            else:
                await one.run()
                if not one.record.is_done:
                    return False
            if self._stopping:
                return False
        return True

    async def stop(self, grace_s: float) -> None:
        """Stops every container, all at once, and waits until they are gone."""
        self._stopping = True
        self._preparing.cancel()
        async with anyio.create_task_group() as tasks:
            for one in (*self.inits, *self.containers):
                tasks.start_soon(one.stop, grace_s)
        await self.done.wait()


def grace_of(pod: Json) -> float:
    """How long the pod's containers may take to end, in seconds."""
    for grace in (
        pod["metadata"].get("deletionGracePeriodSeconds"),
        pod["spec"].get("terminationGracePeriodSeconds"),
    ):
        if grace is not None:
            return float(grace)
    return GRACE_DEFAULT_S


def _by_name(statuses: list[Json] | None) -> dict[str, Json]:
    return {status["name"]: status for status in statuses or []}
