"""The Deployment controller: one ReplicaSet per template; the new one grows as the old ones shrink."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workloads import DEPLOYMENT, REPLICA_SET
from kaito.local.robots.events import emit
from kaito.local.robots.status import condition, with_conditions
from kaito.local.robots.workload_pods import owner_reference, replicas_of, template_hash
from kaito.local.robots.world import World, controller_of, is_deleting

HASH_LABEL = "pod-template-hash"
HISTORY_DEFAULT = 10


class DeploymentController:
    name = "deployment"
    kinds: tuple[ResourceKind, ...] = (DEPLOYMENT, REPLICA_SET)

    def __init__(self, world: World) -> None:
        self._world = world

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == DEPLOYMENT:
            yield DEPLOYMENT.ref(obj["metadata"]["namespace"], obj["metadata"]["name"])
        elif (owner := controller_of(obj)) and owner["kind"] == DEPLOYMENT.kind:
            yield DEPLOYMENT.ref(obj["metadata"]["namespace"], owner["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        workload = self._world.find(DEPLOYMENT, key)
        if workload is None or is_deleting(workload):
            return None
        sets = self._world.owned(REPLICA_SET, workload["metadata"]["uid"])
        digest = template_hash(workload["spec"]["template"])
        new = next((found for found in sets if found["metadata"]["labels"].get(HASH_LABEL) == digest), None)
        old = [found for found in sets if found is not new]
        if new is None:
            new = await self._create(workload, digest, old)
        if not workload["spec"].get("paused"):
            await self._roll(workload, new, old)
        await self._report(workload, new, old)
        await self._prune(workload, old)
        return None

    async def _create(self, workload: Json, digest: str, old: list[Json]) -> Json:
        meta, template = workload["metadata"], workload["spec"]["template"]
        labels = ((template.get("metadata") or {}).get("labels") or {}) | {HASH_LABEL: digest}
        selector = workload["spec"].get("selector") or {}
        match_labels = (selector.get("matchLabels") or {}) | {HASH_LABEL: digest}
        body = {
            "apiVersion": REPLICA_SET.api_version,
            "kind": REPLICA_SET.kind,
            "metadata": {
                "name": f"{meta['name']}-{digest}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": str(1 + max(map(_revision, old), default=0))},
                "ownerReferences": [owner_reference(DEPLOYMENT, workload)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector | {"matchLabels": match_labels},
                "template": template | {"metadata": (template.get("metadata") or {}) | {"labels": labels}},
            },
        }
        return await self._world.create(REPLICA_SET, body)

    async def _roll(self, workload: Json, new: Json, old: list[Json]) -> None:
        """One step: grow the new set as far as the surge allows, shrink the old ones as far as availability allows."""
        wanted, strategy = replicas_of(workload), workload["spec"].get("strategy") or {}
        olds = sum(replicas_of(found) for found in old)
        if strategy.get("type", "RollingUpdate") == "Recreate":
            pods_left = sum(int((found.get("status") or {}).get("replicas") or 0) for found in old)
            await self._shrink(workload, old, olds)
            if not olds and not pods_left:
                await self._scale(workload, new, wanted)
            return
        rolling = strategy.get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
        unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        if not surge and not unavailable:
            unavailable = 1
        room = max(0, wanted + surge - olds)
        await self._scale(workload, new, min(wanted, max(replicas_of(new), room)))
        new_available = min(int((new.get("status") or {}).get("availableReplicas") or 0), wanted)
        # Old pods count by what their sets ask for: one that is about to go must not be taken for available.
        spare = olds + new_available - (wanted - unavailable)
        await self._shrink(workload, old, min(olds, max(0, spare)) if wanted else olds)

    async def _shrink(self, workload: Json, old: list[Json], count: int) -> None:
        for found in old:
            step = min(count, replicas_of(found))
            if step:
                await self._scale(workload, found, replicas_of(found) - step)
                count -= step

    async def _scale(self, workload: Json, replica_set: Json, replicas: int) -> None:
        if replicas == replicas_of(replica_set):
            return
        await self._world.patch(REPLICA_SET, replica_set, {"spec": {"replicas": replicas}})
        way = "up" if replicas > replicas_of(replica_set) else "down"
        words = f"Scaled {way} replica set {replica_set['metadata']['name']} to {replicas}"
        await emit(self._world, "deployment-controller", DEPLOYMENT, workload, "Normal", "ScalingReplicaSet", words)

    async def _report(self, workload: Json, new: Json, old: list[Json]) -> None:
        statuses = [found.get("status") or {} for found in (new, *old)]
        total, ready, available = (
            sum(int(status.get(key) or 0) for status in statuses)
            for key in ("replicas", "readyReplicas", "availableReplicas")
        )
        wanted, updated = replicas_of(workload), int(statuses[0].get("replicas") or 0)
        is_available = available >= wanted - _share("25%", wanted, up=False)
        is_complete = updated == available == wanted == total
        available_words = ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        lacking_words = ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        name = new["metadata"]["name"]
        conditions = (
            condition(
                "Available", "True" if is_available else "False", *(available_words if is_available else lacking_words)
            ),
            condition(
                "Progressing", "True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
            )
            if is_complete
            else condition("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'),
        )
        prior = (workload.get("status") or {}).get("conditions") or []
        status = {
            "observedGeneration": workload["metadata"].get("generation") or 1,
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted - available) or None,
            "conditions": with_conditions(prior, *conditions, now=self._world.now()),
        }
        await self._world.patch_status(DEPLOYMENT, workload, status)

    async def _prune(self, workload: Json, old: list[Json]) -> None:
        limit = workload["spec"].get("revisionHistoryLimit")
        keep = HISTORY_DEFAULT if limit is None else int(limit)
        idle = [found for found in old if not replicas_of(found) and not (found.get("status") or {}).get("replicas")]
        for found in sorted(idle, key=_revision)[: max(0, len(idle) - keep)]:
            await self._world.delete(REPLICA_SET, found)


def _revision(replica_set: Json) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision") or 0)


def _share(value: object, whole: int, *, up: bool) -> int:
    """A count or a percentage (`25%`) of the whole, rounded up or down."""
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    part = whole * int(text.removesuffix("%")) / 100
    return ceil(part) if up else floor(part)
