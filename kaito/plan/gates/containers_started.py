"""Gate: images are pulled and the containers run; otherwise what stopped them, with their last words."""

from __future__ import annotations

from datetime import datetime

from kaito.api.core import ContainerStateTerminated, ContainerStatus, Pod
from kaito.plan.snapshot import Snapshot, is_pod_ready, latest, log_key, parse_time, pod_ref, transition_time
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = "ContainersStarted"
CONDITION = "InferenceReady"

IMAGE_ERRORS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
START_ERRORS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "PreStartHookError"}
)
LAST_WORDS_LINES = 4
LAST_WORDS_CHARS = 600


def judge(s: Snapshot) -> Verdict | None:
    verdicts = [_judge_pod(s, pod) for pod in s.pods if not pod.metadata.deletion_timestamp]
    return at_least(NAME, s.needed, verdicts, what="pods with running containers", root=s.ref)


def _judge_pod(s: Snapshot, pod: Pod) -> Verdict:
    name, ref = pod.metadata.name, pod_ref(pod)
    if pod.status.phase == "Failed":
        return _ended(s, pod)
    if not pod.spec.node_name:
        return s.later(NAME, f"{name} is not scheduled")
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    if not is_pod_ready(pod):
        for judge_status in (_out_of_memory, _image, _start, _crash):
            for status in statuses:
                if verdict := judge_status(s, pod, status):
                    return verdict
    if pod.status.phase == "Succeeded":
        return Ready(NAME, f"the containers of {name} have done their work", ref)
    # A container that has done its work has started, too.
    begun = [status.state.running or status.state.terminated for status in pod.status.container_statuses]
    if begun and all(begun):
        running = [status.state.running for status in pod.status.container_statuses]
        since = latest([parse_time(state.started_at) for state in running if state])
        return Ready(NAME, f"the containers of {name} run", ref, since)
    since = transition_time(pod.status.conditions, "PodScheduled")
    message = f"{name}: image pull and container start on {pod.spec.node_name} are under way"
    step = f"large images take minutes: kubectl describe pod {name} -n {ref.namespace}"
    return Waiting(NAME, "ContainerCreating", message, ref, step, since)


def _out_of_memory(s: Snapshot, pod: Pod, status: ContainerStatus) -> Failed | None:
    ended = _last_end(status)
    if ended is None or ended.reason != "OOMKilled":
        return None
    message = f"container {status.name} used more memory than the node or its limit allows and was killed"
    step = "choose an instance type with more memory, a smaller max-model-len, or a higher memory limit"
    return _failed(pod, "ContainerOOMKilled", message, step, parse_time(ended.finished_at) or _since(s, pod))


def _image(s: Snapshot, pod: Pod, status: ContainerStatus) -> Failed | None:
    waiting = status.state.waiting
    if waiting is None or waiting.reason not in IMAGE_ERRORS:
        return None
    message = f"image {status.image or 'of container ' + status.name}: {waiting.message or waiting.reason}"
    step = "check the image's name, and the registry's reachability and credentials from the node"
    return _failed(pod, "ImagePullError", message, step, _since(s, pod))


def _start(s: Snapshot, pod: Pod, status: ContainerStatus) -> Failed | None:
    waiting = status.state.waiting
    if waiting is None or waiting.reason not in START_ERRORS:
        return None
    message = f"container {status.name} cannot start: {waiting.message or waiting.reason}"
    step = f"create or repair what it names: kubectl describe pod {pod.metadata.name} -n {pod.metadata.namespace}"
    return _failed(pod, "ContainerStartError", message, step, _since(s, pod))


def _crash(s: Snapshot, pod: Pod, status: ContainerStatus) -> Failed | None:
    """A container that crashed counts as crashing until its pod is ready: the verdict must not flap with restarts."""
    ended = _last_end(status)
    is_backing_off = status.state.waiting is not None and status.state.waiting.reason == "CrashLoopBackOff"
    if not is_backing_off and (ended is None or ended.exit_code == 0):
        return None
    code = f" with exit code {ended.exit_code}" if ended else ""
    words = _last_words(s, pod, status, ended)
    message = f"container {status.name} ended{code}" + (f": {words}" if words else "")
    step = f"kubectl logs {pod.metadata.name} -n {pod.metadata.namespace} -c {status.name} --previous"
    # The first crash is not recorded anywhere once the container has restarted: the status remembers it.
    return _failed(pod, "ContainerCrashLoopBackOff", message, step, _since(s, pod))


def _last_end(status: ContainerStatus) -> ContainerStateTerminated | None:
    return status.state.terminated or status.last_state.terminated


def _last_words(s: Snapshot, pod: Pod, status: ContainerStatus, ended: ContainerStateTerminated | None) -> str:
    """The end of the termination message (the kubelet puts the log's tail there), else of the log that we asked for."""
    text = ended.message if ended else ""
    if not text:
        answer = s.view.answer(s.ref, log_key(pod, status))
        text = answer.text if answer else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LAST_WORDS_LINES:])[-LAST_WORDS_CHARS:]


def _ended(s: Snapshot, pod: Pod) -> Failed:
    """The pod as a whole failed: evicted, or refused by its node."""
    words = f"{pod.status.reason} {pod.status.message}".strip() or "the pod failed"
    reason = "ContainerStartError"
    if pod.status.reason == "Evicted":
        lower = words.lower()
        is_disk = "ephemeral-storage" in lower or "disk" in lower
        reason = "NodeDiskPressure" if is_disk else "NodeMemoryPressure" if "memory" in lower else "PodEvicted"
    step = f"free the node of what it lacks: kubectl describe node {pod.spec.node_name or 'NODE'}"
    return _failed(pod, reason, words, step, _since(s, pod))


def _since(s: Snapshot, pod: Pod) -> datetime:
    return s.first_seen(NAME, pod_ref(pod))


def _failed(pod: Pod, reason: str, message: str, step: str, since: datetime) -> Failed:
    return Failed(NAME, reason, f"{pod.metadata.name}: {message}", pod_ref(pod), step, since)
