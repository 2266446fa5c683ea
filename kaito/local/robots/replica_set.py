"""The ReplicaSet controller: as many pods of one template as asked, by name in no order."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workloads import REPLICA_SET
from kaito.local.robots.events import emit
from kaito.local.robots.workload_pods import is_over, is_ready, pod_from_template, replicas_of, suffix_of
from kaito.local.robots.world import World, controller_of, is_deleting


class ReplicaSetController:
    name = "replicaset"
    kinds: tuple[ResourceKind, ...] = (REPLICA_SET, POD)

    def __init__(self, world: World) -> None:
        self._world = world
        self._serial = 0

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == REPLICA_SET:
            yield REPLICA_SET.ref(obj["metadata"]["namespace"], obj["metadata"]["name"])
        elif (owner := controller_of(obj)) and owner["kind"] == REPLICA_SET.kind:
            yield REPLICA_SET.ref(obj["metadata"]["namespace"], owner["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        workload = self._world.find(REPLICA_SET, key)
        if workload is None or is_deleting(workload):
            return None
        pods = self._world.owned(POD, workload["metadata"]["uid"])
        living = [pod for pod in pods if not is_over(pod) and not is_deleting(pod)]
        await self._report(workload, living)
        wanted = replicas_of(workload)
        for _ in range(wanted - len(living)):
            await self._create(workload)
        surplus = sorted(living, key=lambda pod: (is_ready(pod), pod["metadata"]["creationTimestamp"]))
        for pod in surplus[: max(0, len(living) - wanted)]:
            await self._world.delete(POD, pod)
            await self._tell(workload, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        return None

    async def _create(self, workload: Json) -> None:
        self._serial += 1
        meta = workload["metadata"]
        # The name is a matter of chance: one that is taken is an AlreadyExists, and the next attempt draws another.
        draw = self._world.chance("replicaset", meta["uid"], str(self._serial)).getrandbits(32)
        name = f"{meta['name']}-{suffix_of(draw, 5)}"
        await self._world.create(POD, pod_from_template(workload["spec"]["template"], name, REPLICA_SET, workload, {}))
        await self._tell(workload, "SuccessfulCreate", f"Created pod: {name}")

    async def _tell(self, workload: Json, reason: str, words: str) -> None:
        await emit(self._world, "replicaset-controller", REPLICA_SET, workload, "Normal", reason, words)

    async def _report(self, workload: Json, living: list[Json]) -> None:
        ready = sum(is_ready(pod) for pod in living)
        status = {
            "observedGeneration": workload["metadata"].get("generation") or 1,
            "replicas": len(living),
            "fullyLabeledReplicas": len(living),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        await self._world.patch_status(REPLICA_SET, workload, status)
