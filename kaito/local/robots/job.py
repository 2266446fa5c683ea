"""The Job controller: pods until enough have succeeded or too many have failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workloads import JOB
from kaito.clock import parse_rfc3339, rfc3339
from kaito.local.robots.events import emit
from kaito.local.robots.status import condition, is_condition_true, left_s, with_conditions
from kaito.local.robots.workload_pods import is_over, is_ready, phase, pod_from_template, suffix_of
from kaito.local.robots.world import World, controller_of, is_deleting

BACKOFF_LIMIT_DEFAULT = 6


class JobController:
    name = "job"
    kinds: tuple[ResourceKind, ...] = (JOB, POD)

    def __init__(self, world: World) -> None:
        self._world = world
        self._serial = 0

    def keys(self, kind: ResourceKind, old: Json | None, new: Json | None) -> Iterable[ObjectRef]:
        obj = new or old or {}
        if kind == JOB:
            yield JOB.ref(obj["metadata"]["namespace"], obj["metadata"]["name"])
        elif (owner := controller_of(obj)) and owner["kind"] == JOB.kind:
            yield JOB.ref(obj["metadata"]["namespace"], owner["name"])

    async def reconcile(self, key: ObjectRef) -> float | None:
        job = self._world.find(JOB, key)
        if job is None or is_deleting(job):
            return None
        if is_condition_true(job, "Complete") or is_condition_true(job, "Failed"):
            return await self._expire(job)
        pods = self._world.owned(POD, job["metadata"]["uid"])
        succeeded = [pod for pod in pods if phase(pod) == "Succeeded"]
        failed = [pod for pod in pods if phase(pod) == "Failed"]
        active = [pod for pod in pods if not is_over(pod) and not is_deleting(pod)]
        if verdict := self._verdict(job, len(succeeded), len(failed) + sum(map(_restarts, active))):
            for pod in active:
                await self._world.delete(POD, pod)
            await self._report(job, [], succeeded, failed, verdict)
            return None
        await self._report(job, active, succeeded, failed, None)
        return await self._start(job, active, succeeded, failed)

    def _verdict(self, job: Json, succeeded: int, failed: int) -> Json | None:
        """The condition that ends the Job."""
        spec = job["spec"]
        limit = spec.get("backoffLimit")
        if succeeded >= _completions(job):
            return condition("Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
        if failed > (BACKOFF_LIMIT_DEFAULT if limit is None else int(limit)):
            return condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        started, deadline_s = (job.get("status") or {}).get("startTime"), spec.get("activeDeadlineSeconds")
        if started and deadline_s and not left_s(parse_rfc3339(started), float(deadline_s), self._world.now()):
            return condition("Failed", "True", "DeadlineExceeded", "Job was active longer than specified deadline")
        return None

    async def _start(self, job: Json, active: list[Json], succeeded: list[Json], failed: list[Json]) -> float | None:
        spec, now = job["spec"], self._world.now()
        if spec.get("suspend"):
            for pod in active:
                await self._world.delete(POD, pod)
            return None
        if failed and not active:
            # The Job controller's own backoff: 10 s, doubled with each failure, at most 6 minutes.
            ended = max(parse_rfc3339(_finished_at(pod)) for pod in failed)
            if wait_s := left_s(ended, min(10.0 * 2 ** (len(failed) - 1), 360.0), now):
                return wait_s
        at_once = int(spec.get("parallelism") if spec.get("parallelism") is not None else 1)
        for _ in range(min(at_once, _completions(job) - len(succeeded)) - len(active)):
            await self._create(job)
        started, deadline_s = (job.get("status") or {}).get("startTime"), spec.get("activeDeadlineSeconds")
        return left_s(parse_rfc3339(started), float(deadline_s), now) if started and deadline_s else None

    async def _create(self, job: Json) -> None:
        self._serial += 1
        meta = job["metadata"]
        draw = self._world.chance("job", meta["uid"], str(self._serial)).getrandbits(32)
        name = f"{meta['name']}-{suffix_of(draw, 5)}"
        labels = {
            "job-name": meta["name"],
            "controller-uid": meta["uid"],
            "batch.kubernetes.io/job-name": meta["name"],
            "batch.kubernetes.io/controller-uid": meta["uid"],
        }
        await self._world.create(POD, pod_from_template(job["spec"]["template"], name, JOB, job, labels))
        await emit(self._world, "job-controller", JOB, job, "Normal", "SuccessfulCreate", f"Created pod: {name}")

    async def _report(
        self, job: Json, active: list[Json], succeeded: list[Json], failed: list[Json], verdict: Json | None
    ) -> None:
        now, prior = self._world.now(), job.get("status") or {}
        status: Json = {
            "startTime": prior.get("startTime") or rfc3339(now),
            "active": len(active) or None,
            "ready": sum(is_ready(pod) for pod in active),
            "succeeded": len(succeeded) or None,
            "failed": len(failed) or None,
        }
        if verdict is not None:
            ends = [verdict | {"lastProbeTime": rfc3339(now)}]
            status["conditions"] = with_conditions(prior.get("conditions") or [], *ends, now=now)
            if verdict["type"] == "Complete":
                status["completionTime"] = rfc3339(now)
        await self._world.patch_status(JOB, job, status)
        if verdict is not None:
            type_: Literal["Normal", "Warning"] = "Normal" if verdict["type"] == "Complete" else "Warning"
            reason = "Completed" if type_ == "Normal" else verdict["reason"]
            words = "Job completed" if type_ == "Normal" else verdict["message"]
            await emit(self._world, "job-controller", JOB, job, type_, reason, words)

    async def _expire(self, job: Json) -> float | None:
        ttl_s = job["spec"].get("ttlSecondsAfterFinished")
        if ttl_s is None:
            return None
        ended = max(parse_rfc3339(item["lastTransitionTime"]) for item in job["status"]["conditions"])
        if wait_s := left_s(ended, float(ttl_s), self._world.now()):
            return wait_s
        await self._world.delete(JOB, job)
        return None


def _restarts(pod: Json) -> int:
    """How often the pod's containers were started again: with restartPolicy OnFailure each of them is an attempt."""
    if pod["spec"].get("restartPolicy") != "OnFailure":
        return 0
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(int(status.get("restartCount") or 0) for status in statuses)


def _completions(job: Json) -> int:
    """How many pods must succeed. Without `completions` the Job is a work queue, which one success ends."""
    return int(job["spec"].get("completions") or 1)


def _finished_at(pod: Json) -> str:
    ends: list[str | None] = [
        status["state"]["terminated"].get("finishedAt")
        for status in (pod.get("status") or {}).get("containerStatuses") or []
        if (status.get("state") or {}).get("terminated")
    ]
    return max((end for end in ends if end), default=pod["metadata"]["creationTimestamp"])
