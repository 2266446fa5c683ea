"""The StatefulSet controller: ordinals, Parallel and OrderedReady, rolling updates from the highest ordinal down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workloads import CONTROLLER_REVISION, STATEFUL_SET
from kaito.local.robots.events import emit
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.workload_pods import (
    is_over,
    is_ready,
    owner_reference,
    pod_from_template,
    replicas_of,
    template_hash,
)
from kaito.local.robots.world import World, controller_of, is_deleting

REVISION_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One StatefulSet as it is: pods by ordinal, and the revisions of its template."""

    workload: Json
    pods: dict[int, Json]
    first: int
    replicas: int
    update_revision: str
    current_revision: str

    @property
    def ordinals(self) -> range:
        return range(self.first, self.first + self.replicas)

    @property
    def is_ordered(self) -> bool:
        return bool(self.workload["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    def is_updated(self, pod: Json) -> bool:
        return bool(pod["metadata"]["labels"].get(REVISION_LABEL) == self.update_revision)


class StatefulSetController:
    name = "statefulset"
    kinds: tuple[ResourceKind, ...] = (STATEFUL_SET, POD, CONTROLLER_REVISION)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._minor = settings.cluster_minor

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == STATEFUL_SET:
            yield STATEFUL_SET.ref(obj["metadata"]["namespace"], obj["metadata"]["name"])
        elif (owner := controller_of(obj)) and owner["kind"] == STATEFUL_SET.kind:
            yield STATEFUL_SET.ref(obj["metadata"]["namespace"], owner["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        workload = self._world.find(STATEFUL_SET, key)
        if workload is None or is_deleting(workload):
            return None
        rollout = await self._observe(workload)
        await self._report(rollout)
        if await self._fill(rollout) and await self._shrink(rollout):
            await self._update(rollout)
        return None

    async def _observe(self, workload: Json) -> Rollout:
        revision = await self._revision(workload)
        pods = {}
        for pod in self._world.owned(POD, workload["metadata"]["uid"]):
            ordinal = pod["metadata"]["name"].removeprefix(workload["metadata"]["name"] + "-")
            if ordinal.isdecimal():
                pods[int(ordinal)] = pod
        first = int((workload["spec"].get("ordinals") or {}).get("start") or 0)
        current = (workload.get("status") or {}).get("currentRevision") or revision
        return Rollout(workload, pods, first, replicas_of(workload), revision, current)

    async def _revision(self, workload: Json) -> str:
        """The name of the ControllerRevision of the template as it is now."""
        meta, template = workload["metadata"], workload["spec"]["template"]
        name = f"{meta['name']}-{template_hash(template)}"
        if self._world.get(CONTROLLER_REVISION, meta["namespace"], name) is not None:
            return name
        known = self._world.owned(CONTROLLER_REVISION, meta["uid"])
        body = {
            "apiVersion": CONTROLLER_REVISION.api_version,
            "kind": CONTROLLER_REVISION.kind,
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": ((template.get("metadata") or {}).get("labels") or {}),
                "ownerReferences": [owner_reference(STATEFUL_SET, workload)],
            },
            "data": {"spec": {"template": template | {"$patch": "replace"}}},
            "revision": max((int(found.get("revision") or 0) for found in known), default=0) + 1,
        }
        await self._world.create(CONTROLLER_REVISION, body)
        return name

    # Each step returns whether the next one may go ahead.

    async def _fill(self, rollout: Rollout) -> bool:
        for ordinal in rollout.ordinals:
            pod = rollout.pods.get(ordinal)
            if pod is None:
                await self._create(rollout, ordinal)
            elif is_over(pod) and not is_deleting(pod):
                await self._delete(rollout, pod)  # its successor comes when it is gone
            if rollout.is_ordered and not (pod is not None and is_ready(pod)):
                return False
        return True

    async def _shrink(self, rollout: Rollout) -> bool:
        condemned = [ordinal for ordinal in sorted(rollout.pods, reverse=True) if ordinal not in rollout.ordinals]
        for ordinal in condemned:
            pod = rollout.pods[ordinal]
            if not is_deleting(pod):
                await self._delete(rollout, pod)
            if rollout.is_ordered:
                return False
        return True

    async def _update(self, rollout: Rollout) -> None:
        strategy = rollout.workload["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        for ordinal in reversed(rollout.ordinals):
            pod = rollout.pods.get(ordinal)
            if ordinal < partition or pod is None:
                return
            if not rollout.is_updated(pod):
                if not is_deleting(pod):
                    await self._delete(rollout, pod)
                return
            if not is_ready(pod):
                return

    async def _create(self, rollout: Rollout, ordinal: int) -> None:
        workload = rollout.workload
        meta, spec = workload["metadata"], workload["spec"]
        name = f"{meta['name']}-{ordinal}"
        labels = {REVISION_LABEL: rollout.update_revision, "statefulset.kubernetes.io/pod-name": name}
        if self._minor >= 28:
            labels["apps.kubernetes.io/pod-index"] = str(ordinal)
        pod = pod_from_template(spec["template"], name, STATEFUL_SET, workload, labels)
        pod["spec"] |= {"hostname": name, "subdomain": spec.get("serviceName") or ""}
        if claims := [_claim_volume(claim, name) for claim in spec.get("volumeClaimTemplates") or []]:
            taken = {claim["name"] for claim in claims}
            kept = [volume for volume in pod["spec"].get("volumes") or [] if volume["name"] not in taken]
            pod["spec"]["volumes"] = [*kept, *claims]
        await self._world.create(POD, pod)
        words = f"create Pod {name} in StatefulSet {meta['name']} successful"
        await emit(self._world, "statefulset-controller", STATEFUL_SET, workload, "Normal", "SuccessfulCreate", words)

    async def _delete(self, rollout: Rollout, pod: Json) -> None:
        await self._world.delete(POD, pod)
        workload = rollout.workload
        words = f"delete Pod {pod['metadata']['name']} in StatefulSet {workload['metadata']['name']} successful"
        await emit(self._world, "statefulset-controller", STATEFUL_SET, workload, "Normal", "SuccessfulDelete", words)

    async def _report(self, rollout: Rollout) -> None:
        workload, living = rollout.workload, [pod for pod in rollout.pods.values() if not is_over(pod)]
        ready = [pod for pod in living if is_ready(pod)]
        updated = [pod for pod in living if rollout.is_updated(pod)]
        is_complete = len(updated) == len(ready) == rollout.replicas == len(rollout.pods)
        current = rollout.update_revision if is_complete else rollout.current_revision
        on_current = [pod for pod in living if pod["metadata"]["labels"].get(REVISION_LABEL) == current]
        status: Json = {
            "observedGeneration": workload["metadata"].get("generation") or 1,
            "replicas": len(living),
            "readyReplicas": len(ready),
            "updatedReplicas": len(updated),
            "currentReplicas": len(on_current),
            "currentRevision": current,
            "updateRevision": rollout.update_revision,
            "collisionCount": 0,
        }
        if self._minor >= 22:
            status["availableReplicas"] = len(ready)
        await self._world.patch_status(STATEFUL_SET, workload, status)


def _claim_volume(claim: Json, pod: str) -> Json:
    name = claim["metadata"]["name"]
    return {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{pod}"}}
