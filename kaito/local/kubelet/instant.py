"""Instant pods: the stages of a pod's life as a function of the time since it started. No process runs.

The whole status is computed from the pod, the settings and the clock, so that a seed of the simulator replays exactly
and a restarted kubelet goes on where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from kaito.api.core import NODE, POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import parse_rfc3339, rfc3339
from kaito.local.kubelet.records import ContainerRecord, not_started, pod_status, waiting
from kaito.local.kubelet.references import missing_reference
from kaito.local.robots.events import emit
from kaito.local.robots.machine_agent import is_node_ready
from kaito.local.robots.machine_node import is_ours
from kaito.local.robots.settings import RobotSettings
from kaito.local.robots.status import left_s
from kaito.local.robots.world import World, is_deleting

CRASH_AFTER_S = 1.0  # a crashing container runs so long
PULL_WORDS = 'rpc error: code = NotFound desc = failed to pull and unpack image "{}": not found'


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds after the pod's start at which each stage begins."""

    pulled_s: float
    started_s: float
    loaded_s: float


class InstantKubelet:
    name = "kubelet"
    kinds: tuple[ResourceKind, ...] = (POD, NODE)

    def __init__(self, world: World, settings: RobotSettings) -> None:
        self._world = world
        self._settings = settings

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        if new is None:
            return
        if kind == POD and new["spec"].get("nodeName"):
            yield POD.ref(new["metadata"]["namespace"], new["metadata"]["name"])
        elif kind == NODE and (old is None or is_node_ready(old) != is_node_ready(new)):
            for pod in self._world.pods_on(new["metadata"]["name"]):
                yield POD.ref(pod["metadata"]["namespace"], pod["metadata"]["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        pod = self._world.find(POD, key)
        node = self._world.get(NODE, "", pod["spec"].get("nodeName") or "") if pod else None
        if pod is None or node is None or not is_ours(node) or not is_node_ready(node):
            return None  # the kubelet of a node that is not Ready does nothing
        if is_deleting(pod):
            return await self._stop(pod)
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return None
        now, start_time = self._world.now(), (pod.get("status") or {}).get("startTime")
        if not start_time:
            start_time = rfc3339(now)
        missing = await missing_reference(self._world.client, pod)
        if missing:
            records = [waiting(c["name"], c["image"], "CreateContainerConfigError", missing) for c in _containers(pod)]
            await self._report(pod, records, start_time, now)
            return self._settings.reference_retry_s
        elapsed_s = (now - parse_rfc3339(start_time)).total_seconds()
        found = [self._record(pod, container, start_time, elapsed_s) for container in _containers(pod)]
        await self._report(pod, [record for record, _ in found], start_time, now)
        waits = [wait_s for _, wait_s in found if wait_s is not None]
        return min(waits) if waits else None

    async def _stop(self, pod: Json) -> float | None:
        deleted = parse_rfc3339(pod["metadata"]["deletionTimestamp"])
        grace = pod["metadata"].get("deletionGracePeriodSeconds") or 0
        asked = deleted - timedelta(seconds=grace)  # deletionTimestamp is when the grace ends
        if wait_s := left_s(asked, min(self._settings.delays.pod_stop_s, grace), self._world.now()):
            return wait_s
        await self._world.delete(POD, pod, grace_s=0)
        return None

    async def _report(self, pod: Json, records: list[ContainerRecord], start_time: str, now: datetime) -> None:
        inits = [
            ContainerRecord(
                container["name"],
                container.get("image") or "",
                {
                    "terminated": {
                        "exitCode": 0,
                        "reason": "Completed",
                        "startedAt": start_time,
                        "finishedAt": start_time,
                    }
                },
                is_ready=True,
                is_final=True,
            )
            for container in pod["spec"].get("initContainers") or []
        ]
        status = pod_status(
            pod,
            inits,
            records,
            now=now,
            start_time=start_time,
            address=_address(pod),
            host_address="127.0.0.1" if self._settings.publish_addresses else "192.0.2.1",
        )
        await self._world.patch_status(POD, pod, status)
        for record in records:
            await self._tell(pod, record)

    async def _tell(self, pod: Json, record: ContainerRecord) -> None:
        """An Event where something is wrong that a person would look for."""
        held = record.state.get("waiting") or {}
        if held.get("reason") in ("ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"):
            before = [status.get("state") for status in (pod.get("status") or {}).get("containerStatuses") or []]
            if record.state not in before:
                reason = "BackOff" if held["reason"].endswith("BackOff") else "Failed"
                await emit(self._world, "kubelet", POD, pod, "Warning", reason, held.get("message") or held["reason"])

    def _stages(self, pod: Json) -> Stages:
        delays, name = self._settings.delays, pod["metadata"]["name"]
        draw = self._world.chance("kubelet", pod["metadata"].get("namespace", ""), name)
        pull, start, load = (
            delay_s * (1 + draw.uniform(-delays.jitter, delays.jitter))
            for delay_s in (delays.image_pull_s, delays.container_start_s, delays.model_load_s)
        )
        return Stages(pull, pull + start, pull + start + load)

    def _record(
        self, pod: Json, container: Json, start_time: str, elapsed_s: float
    ) -> tuple[ContainerRecord, float | None]:
        """The container now, and in how many seconds time changes it."""
        name, image, stages = container["name"], container.get("image") or "", self._stages(pod)
        pod_name = pod["metadata"]["name"]
        fault = self._settings.fault
        if elapsed_s < stages.pulled_s:
            return not_started(container, is_init_done=True), stages.pulled_s - elapsed_s
        if fault("image-pull-error", pod_name):
            return self._pull_error(name, image, elapsed_s - stages.pulled_s)
        if elapsed_s < stages.started_s:
            return not_started(container, is_init_done=True), stages.started_s - elapsed_s
        crash = fault("server-crash-loop", pod_name)
        if crash or fault("server-out-of-memory", pod_name):
            reason, message, code = ("Error", crash.argument, 1) if crash else ("OOMKilled", "", 137)
            ended: Json = {"exitCode": code, "reason": reason} | ({"message": message} if message else {})
            return self._crash_loop(pod, container, start_time, elapsed_s, stages.started_s, ended)
        started_at = _moment(start_time, stages.started_s)
        running: Json = {"running": {"startedAt": started_at}}
        if pod["spec"].get("restartPolicy", "Always") != "Always" and elapsed_s >= stages.loaded_s:
            finished = {"exitCode": 0, "reason": "Completed", "startedAt": started_at}
            finished["finishedAt"] = _moment(start_time, stages.loaded_s)
            return ContainerRecord(name, image, {"terminated": finished}, is_final=True), None
        is_loaded = elapsed_s >= stages.loaded_s and not fault("server-never-ready", pod_name)
        record = ContainerRecord(name, image, running, is_ready=is_loaded, is_started=is_loaded)
        return record, max(0.0, stages.loaded_s - elapsed_s) or None

    def _pull_error(self, name: str, image: str, since_s: float) -> tuple[ContainerRecord, float | None]:
        words = PULL_WORDS.format(image)
        if since_s < 1.0:
            return waiting(name, image, "ErrImagePull", words), 1.0 - since_s
        return waiting(
            name, image, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {words}'
        ), None

    def _crash_loop(
        self, pod: Json, container: Json, start_time: str, elapsed_s: float, began_s: float, ended: Json
    ) -> tuple[ContainerRecord, float | None]:
        """Runs CRASH_AFTER_S, ends, restarts, at once and then after back-offs that double; or only once."""
        name, image = container["name"], container.get("image") or ""
        backoff_s, restarts, last = 0.0, 0, Json()
        while True:
            crashed_s = began_s + CRASH_AFTER_S
            running = {"running": {"startedAt": _moment(start_time, began_s)}}
            if elapsed_s < crashed_s:
                return ContainerRecord(name, image, running, last, restarts=restarts), crashed_s - elapsed_s
            times = {"startedAt": _moment(start_time, began_s), "finishedAt": _moment(start_time, crashed_s)}
            if pod["spec"].get("restartPolicy") == "Never":
                return ContainerRecord(name, image, {"terminated": ended | times}, is_final=True), None
            last = {"terminated": ended | times}
            began_s = crashed_s + backoff_s
            if elapsed_s < began_s:
                words = f"back-off {round(backoff_s)}s restarting failed container={name} pod={pod['metadata']['name']}"
                state = {"waiting": {"reason": "CrashLoopBackOff", "message": words}}
                return ContainerRecord(name, image, state, last, restarts=restarts), began_s - elapsed_s
            restarts += 1
            backoff_s = min(backoff_s * 2, self._settings.crash_backoff_max_s) or self._settings.crash_backoff_s


def _containers(pod: Json) -> list[Json]:
    return list(pod["spec"].get("containers") or [])


def _moment(start_time: str, after_s: float) -> str:
    return rfc3339(parse_rfc3339(start_time) + timedelta(seconds=after_s))


def _address(pod: Json) -> str:
    """An address of the pod's own that nothing answers on."""
    digest = sha256(pod["metadata"]["uid"].encode()).digest()
    return f"10.244.{digest[0]}.{1 + digest[1] % 254}"
