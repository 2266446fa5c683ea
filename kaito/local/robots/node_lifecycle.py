"""Node lifecycle and pod garbage collection: what a node that is not Ready, or gone, means for others."""

from __future__ import annotations

from collections.abc import Iterable

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import parse_rfc3339
from kaito.local.robots.machine_node import NOT_READY_TAINT
from kaito.local.robots.status import condition, find_condition, is_condition_true, left_s, with_conditions
from kaito.local.robots.world import World, is_deleting

EVICTION_S = 300.0  # the toleration for not-ready and unreachable nodes that every pod gets


class NodeLifecycle:
    name = "node-lifecycle"
    kinds: tuple[ResourceKind, ...] = (NODE, POD)

    def __init__(self, world: World) -> None:
        self._world = world

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == NODE:
            yield NODE.ref("", obj["metadata"]["name"])
        elif new is not None and (name := obj["spec"].get("nodeName")) and self._world.get(NODE, "", name) is None:
            yield NODE.ref("", name)

    async def reconcile(self, key: ObjectRef) -> float | None:
        node = self._world.find(NODE, key)
        pods = self._world.pods_on(key.name)
        if node is None:
            for pod in pods:
                await self._world.delete(POD, pod, grace_s=0)  # nobody is left to stop its containers
            return None
        is_ready = is_condition_true(node, "Ready")
        await self._taint(node, is_ready)
        if is_ready:
            return None
        for pod in pods:
            await self._mark_unready(pod)
        return await self._evict(node, pods)

    async def _taint(self, node: Json, is_ready: bool) -> None:
        taints = node["spec"].get("taints") or []
        others = [taint for taint in taints if taint["key"] != NOT_READY_TAINT["key"]]
        wanted = others if is_ready else [*others, NOT_READY_TAINT]
        if len(wanted) != len(taints):
            await self._world.patch(NODE, node, {"spec": {"taints": wanted}})

    async def _mark_unready(self, pod: Json) -> None:
        if not is_condition_true(pod, "Ready"):
            return
        unready = condition("Ready", "False", "NodeNotReady", "")
        conditions = with_conditions(pod["status"]["conditions"], unready, now=self._world.now())
        await self._world.patch_status(POD, pod, {"conditions": conditions})

    async def _evict(self, node: Json, pods: list[Json]) -> float | None:
        found = find_condition(node, "Ready")
        if found is None or not pods:
            return None
        lost = parse_rfc3339(found["lastTransitionTime"])
        if wait_s := left_s(lost, EVICTION_S, self._world.now()):
            return wait_s
        for pod in pods:
            if not is_deleting(pod):
                await self._world.delete(POD, pod)
        return None
