"""Gate: the model is loaded and the server answers its readiness probe, in every pod."""

from __future__ import annotations

from kaito.api.core import Pod
from kaito.plan.snapshot import (
    Snapshot,
    has_crashed,
    is_node_ready,
    is_pod_ready,
    latest,
    node_of,
    parse_time,
    pod_ref,
    transition_time,
)
from kaito.plan.verdict import Ready, Verdict, Waiting, at_least

NAME = "ServerReady"
CONDITION = "InferenceReady"
GOAL = "answer"


def judge(s: Snapshot) -> Verdict | None:
    verdicts = [_judge_pod(s, pod) for pod in s.pods if not pod.metadata.deletion_timestamp]
    return at_least(NAME, s.needed, verdicts, what="pods ready", root=s.ref)


def _judge_pod(s: Snapshot, pod: Pod) -> Verdict:
    name, ref = pod.metadata.name, pod_ref(pod)
    if is_pod_ready(pod):
        return Ready(NAME, f"the server in {name} answers", ref, transition_time(pod.status.conditions, "Ready"))
    started = [status.state.running.started_at for status in pod.status.container_statuses if status.state.running]
    if not started:
        return s.later(NAME, f"the containers of {name} do not run")
    if any(has_crashed(status) for status in pod.status.container_statuses):
        return s.later(NAME, f"{name} has crashed and starts again")
    node = node_of(s, pod)
    if node is not None and not is_node_ready(node):
        return s.later(NAME, f"{node.metadata.name} is not Ready, and so no pod on it is")
    message = f"{name} is loading the model: its readiness probe does not answer yet"
    step = f"kubectl logs -f {name} -n {ref.namespace}"
    since = latest([parse_time(text) for text in started])
    return Waiting(NAME, "ModelLoading", message, ref, step, since)
