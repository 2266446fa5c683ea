"""The scheduler: binds each pod to the first node (by free GPUs, then name) that fits, or says why none does."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.local.robots.events import emit
from kaito.local.robots.fit import misfits, unschedulable_words
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.status import condition, find_condition, is_condition_true, with_conditions
from kaito.local.robots.world import World, is_deleting

SCHEDULER_NAME = "default-scheduler"
# kube-scheduler's podInitialBackoffSeconds and podMaxBackoffSeconds: many waiting pods and many new nodes would
# otherwise multiply.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 10.0


class Scheduler:
    name = "scheduler"
    kinds: tuple[ResourceKind, ...] = (POD, NODE)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._minor = settings.cluster_minor
        self._pending: dict[ObjectRef, None] = {}
        self._not_before: dict[ObjectRef, tuple[float, float]] = {}  # when to try again, and the back-off that follows

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        """A pod that waits; every waiting pod when a node changes or another pod leaves or ends."""
        if kind == POD and new is not None and _waits(new):
            ref = POD.ref(new["metadata"]["namespace"], new["metadata"]["name"])
            is_first = ref not in self._pending
            self._pending[ref] = None
            return [ref] if is_first or _spec_changed(old, new) else []
        if kind == POD:
            gone = (old or new or {})["metadata"]
            self._forget(POD.ref(gone["namespace"], gone["name"]))
            frees = new is None or (new.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            return list(self._pending) if frees else []
        return list(self._pending) if _matters(old, new) else []

    async def reconcile(self, key: ObjectRef) -> float | None:
        pod = self._world.find(POD, key)
        if pod is None or not _waits(pod):
            return None
        moment = anyio.current_time()
        again_s, backoff_s = self._not_before.get(key, (moment, BACKOFF_FIRST_S))
        if moment < again_s:
            return again_s - moment
        nodes = [node for node in self._world.all(NODE) if not is_deleting(node)]
        reasons: list[str] = []
        for node in nodes:
            found = misfits(pod, node, self._world.pods_on(node["metadata"]["name"]), minor=self._minor)
            if not found:
                await self._bind(pod, node["metadata"]["name"])
                return None
            reasons += found
        self._not_before[key] = (moment + backoff_s, min(backoff_s * 2, BACKOFF_MAX_S))
        await self._tell(pod, unschedulable_words(len(nodes), reasons, minor=self._minor))
        return None

    def _forget(self, key: ObjectRef) -> None:
        self._pending.pop(key, None)
        self._not_before.pop(key, None)

    async def _bind(self, pod: Json, node: str) -> None:
        await self._world.bind(pod, node)
        meta = pod["metadata"]
        bound = self._world.get(POD, meta["namespace"], meta["name"])
        if bound is not None and not is_condition_true(bound, "PodScheduled"):
            conditions = (bound.get("status") or {}).get("conditions") or []
            merged = with_conditions(conditions, _scheduled(), now=self._world.now())
            await self._world.patch_status(POD, bound, {"conditions": merged})
        words = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        await emit(self._world, SCHEDULER_NAME, POD, pod, "Normal", "Scheduled", words)

    async def _tell(self, pod: Json, words: str) -> None:
        found = find_condition(pod, "PodScheduled")
        if found is not None and found.get("message") == words:
            return
        unscheduled = condition("PodScheduled", "False", "Unschedulable", words)
        conditions = with_conditions(
            (pod.get("status") or {}).get("conditions") or [], unscheduled, now=self._world.now()
        )
        await self._world.patch_status(POD, pod, {"conditions": conditions})
        await emit(self._world, SCHEDULER_NAME, POD, pod, "Warning", "FailedScheduling", words)


def _scheduled() -> Json:
    return {"type": "PodScheduled", "status": "True", "reason": None, "message": None}


def _waits(pod: Json) -> bool:
    spec = pod["spec"]
    is_ours = spec.get("schedulerName", SCHEDULER_NAME) == SCHEDULER_NAME
    is_over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return is_ours and not spec.get("nodeName") and not is_deleting(pod) and not is_over


def _spec_changed(old: Json | None, new: Json) -> bool:
    return old is None or old["metadata"]["uid"] != new["metadata"]["uid"] or old["spec"] != new["spec"]


def _matters(old: Json | None, new: Json | None) -> bool:
    """Whether the change of a node can change where pods fit."""
    if old is None or new is None:
        return True
    if old["spec"] != new["spec"] or old["metadata"].get("labels") != new["metadata"].get("labels"):
        return True
    return bool(old["status"].get("allocatable") != new["status"].get("allocatable"))
