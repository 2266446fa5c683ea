"""What a kubelet knows of a pod's containers → the pod's status, as Kubernetes defines it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kaito.api.meta import Json
from kaito.local.robots.status import condition, with_conditions


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """`state` and `last_state` are a core/v1 ContainerState. `is_final`: it has ended and will not be started again."""

    name: str
    image: str
    state: Json = field(default_factory=dict)
    last_state: Json = field(default_factory=dict)
    is_ready: bool = False
    is_started: bool = False
    is_final: bool = False
    is_sidecar: bool = False  # an init container that goes on running beside the others
    restarts: int = 0

    @property
    def is_done(self) -> bool:
        """As an init container: whether the next one may start."""
        return self.is_started if self.is_sidecar else self.is_final and self.exit_code == 0

    @property
    def exit_code(self) -> int | None:
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def to_json(self) -> Json:
        has_run = "running" in self.state or "terminated" in self.state or bool(self.last_state)
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image if has_run else "",
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.is_ready,
            "started": self.is_started,
            "restartCount": self.restarts,
        }


def waiting(name: str, image: str, reason: str, message: str = "") -> ContainerRecord:
    state: Json = {"reason": reason} | ({"message": message} if message else {})
    return ContainerRecord(name, image, {"waiting": state})


def not_started(container: Json, *, is_init_done: bool) -> ContainerRecord:
    """A container that has not been looked at yet."""
    reason = "ContainerCreating" if is_init_done else "PodInitializing"
    return waiting(container["name"], container.get("image") or "", reason)


def phase_of(pod: Json, inits: Sequence[ContainerRecord], containers: Sequence[ContainerRecord]) -> str:
    """Pending, Running, Succeeded or Failed."""
    if any(record.is_final and record.exit_code and not record.is_sidecar for record in inits):
        return "Failed"
    if not all(record.is_done for record in inits):
        return "Pending"
    if containers and all(record.is_final for record in containers):
        return "Failed" if any(record.exit_code for record in containers) else "Succeeded"
    has_started = [not ("waiting" in record.state and not record.last_state) for record in containers]
    return "Running" if has_started and all(has_started) else "Pending"


def pod_status(
    pod: Json,
    inits: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    *,
    now: datetime,
    start_time: str,
    address: str,
    host_address: str,
) -> Json:
    """The status to merge into the pod's. `address` is empty where it must not be shown."""
    phase = phase_of(pod, inits, containers)
    prior = pod.get("status") or {}
    is_deleting = bool(pod["metadata"].get("deletionTimestamp"))
    conditions = (
        _initialized(inits),
        *_ready(phase, containers, is_deleting),
        {"type": "PodScheduled", "status": "True", "reason": None, "message": None},
    )
    status: Json = {
        "phase": phase,
        "startTime": start_time,
        "conditions": with_conditions(prior.get("conditions") or [], *conditions, now=now),
        "containerStatuses": [record.to_json() for record in containers],
        "qosClass": prior.get("qosClass") or "Burstable",
        "hostIP": host_address,
    }
    if inits:
        status["initContainerStatuses"] = [record.to_json() for record in inits]
    if address and phase != "Pending":
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    return status


def _initialized(inits: Sequence[ContainerRecord]) -> Json:
    missing = [record.name for record in inits if not record.is_done]
    if missing:
        words = f"containers with incomplete status: [{' '.join(missing)}]"
        return condition("Initialized", "False", "ContainersNotInitialized", words)
    return {"type": "Initialized", "status": "True", "reason": None, "message": None}


def _ready(phase: str, containers: Sequence[ContainerRecord], is_deleting: bool) -> tuple[Json, Json]:
    if phase == "Succeeded":
        return condition("Ready", "False", "PodCompleted"), condition("ContainersReady", "False", "PodCompleted")
    unready = [record.name for record in containers if not record.is_ready]
    if unready or is_deleting:
        words = f"containers with unready status: [{' '.join(unready or [record.name for record in containers])}]"
        return (
            condition("Ready", "False", "ContainersNotReady", words),
            condition("ContainersReady", "False", "ContainersNotReady", words),
        )
    blank = {"status": "True", "reason": None, "message": None}
    return {"type": "Ready"} | blank, {"type": "ContainersReady"} | blank
