"""Gate: the scheduler placed every pod. Where it does not, its own words are the message."""

from __future__ import annotations

from kaito.api.core import Pod
from kaito.api.meta import condition
from kaito.plan.snapshot import Snapshot, node_of, parse_time, pod_ref, transition_time
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = "PodScheduled"
CONDITION = "InferenceReady"

SCHEDULER_RETRIES_S = (
    30.0  # a node's last taint or device may reach the scheduler later than us: it looks again by then
)


def judge(s: Snapshot) -> Verdict | None:
    if s.workload is None:
        return s.later(NAME, "no pod yet: the workload does not exist")
    if not s.pods:
        return _no_pods(s)
    verdicts = [_judge_pod(s, pod) if not pod.metadata.deletion_timestamp else _leaving(s, pod) for pod in s.pods]
    return at_least(NAME, s.needed, verdicts, what="pods scheduled", root=s.ref)


def _no_pods(s: Snapshot) -> Waiting:
    ref = s.workload_ref
    since = parse_time(s.workload.metadata.creation_timestamp) if s.workload else None
    describe = f"kubectl describe {ref.kind.lower()} {ref.name} -n {ref.namespace}"
    step = f"if none comes: {describe} (quota or admission may refuse it)"
    return Waiting(NAME, "PodNotCreated", f"{ref.kind} {ref.name} has no pod yet", ref, step, since)


def _leaving(s: Snapshot, pod: Pod) -> Waiting:
    """A StatefulSet makes a pod anew only when the former one of that name is gone."""
    name, ref, on = pod.metadata.name, pod_ref(pod), pod.spec.node_name
    since = parse_time(pod.metadata.deletion_timestamp)
    message = f"{name} is being deleted; its successor comes when it is gone"
    step = f"wait for the kubelet of {on or 'its node'}"
    if on and node_of(s, pod) is None:
        message += f"; its node {on} is none of this {s.ref.kind}'s any more"
        step += f"; if that node is gone: kubectl delete pod {name} -n {ref.namespace} --force --grace-period=0"
    return Waiting(NAME, "PodTerminating", message, ref, step, since)


def _judge_pod(s: Snapshot, pod: Pod) -> Verdict:
    name, found = pod.metadata.name, condition(pod.status.conditions, "PodScheduled")
    since = transition_time(pod.status.conditions, "PodScheduled")
    if pod.spec.node_name:
        return Ready(NAME, f"{name} is on {pod.spec.node_name}", pod_ref(pod), since)
    if found is None or found.status != "False":
        message = f"{name} waits for the scheduler"
        since = parse_time(pod.metadata.creation_timestamp)
        return Waiting(
            NAME, "AwaitingScheduler", message, pod_ref(pod), "none: the scheduler answers within seconds", since
        )
    words = found.message or found.reason
    message, step = f"the scheduler says: {words}", _step(s, pod, words)
    left_s = s.left_s(since, SCHEDULER_RETRIES_S) if since else 0.0
    if left_s > 0:
        return Waiting(NAME, "Unschedulable", message, pod_ref(pod), step, since, left_s)
    return Failed(NAME, "Unschedulable", message, pod_ref(pod), step, since)


def _step(s: Snapshot, pod: Pod, words: str) -> str:
    """The node gates are open when a pod is created, so a GPU shortage means that somebody else holds the GPUs."""
    if not s.nodes:  # what has no machines of its own takes any node
        describe = f"kubectl describe pod {pod.metadata.name} -n {pod.metadata.namespace}"
        return f"add a node that has room for it, or make room on one: kubectl get nodes; {describe}"
    names = " ".join(node.metadata.name for node in s.nodes)
    lower = words.lower()
    if f"insufficient {s.gpu_resource}" in lower:
        return f"other pods hold the GPUs: kubectl describe node {names}"
    if "taint" in lower:
        return f"remove the taint or wait until it goes: kubectl describe node {names}"
    if "affinity" in lower or "selector" in lower:
        return "the nodes lost labels that the pod asks for: compare them with the pod's node affinity"
    return f"kubectl describe node {names}"
