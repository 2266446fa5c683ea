"""Gate: the Job has done its work. While it runs, how far it has come; when it has failed, its last words."""

from __future__ import annotations

from datetime import datetime

from kaito.api.core import Pod
from kaito.api.meta import Condition
from kaito.plan.ownership import is_child
from kaito.plan.snapshot import Snapshot, latest, parse_time, pod_ref
from kaito.plan.training import progress_of
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting

NAME = "JobSucceeded"
CONDITION = "WorkspaceSucceeded"
GOAL = "end"


def judge(s: Snapshot) -> Verdict | None:
    found = s.workload
    if found is None or not is_child(found.metadata, s.uid) or found.metadata.deletion_timestamp:
        return s.later(NAME, f"the {s.work.kind.kind} does not exist yet")
    if s.end is not None and s.end.type == "Failed":
        return _failed(s, s.end)
    if s.end is not None:
        return Ready(NAME, "the adapter is written", s.workload_ref, parse_time(s.end.last_transition_time))
    running = next((pod for pod in s.pods if _started(pod)), None)
    if running is None:
        return s.later(NAME, "no container of the Job runs")
    progress = progress_of(s)
    message = f"{running.metadata.name} trains" + (f": {progress.words}" if progress else "")
    step = f"kubectl logs -f {running.metadata.name} -n {s.ref.namespace} -c {s.ref.name}"
    return Waiting(NAME, "Training", message, pod_ref(running), step, _since(running))


def _failed(s: Snapshot, end: Condition) -> Failed:
    """The pods of a Job that is given up are deleted with their logs: what they said is remembered in the status."""
    words = _remembered(s) or end.message
    step = "correct what it names, then delete the Job to try again: " + (
        f"kubectl delete job {s.ref.name} -n {s.ref.namespace}"
    )
    return Failed(NAME, "JobFailed", words, s.workload_ref, step, parse_time(end.last_transition_time))


def _remembered(s: Snapshot) -> str:
    """The last words of a container, from the status as last written."""
    for gate in (NAME, "ContainersStarted"):
        for blocker in s.prior.get("blockers") or ():
            is_word = blocker.get("reason") == "JobFailed" or gate != NAME
            if blocker.get("gate") == gate and is_word and blocker.get("message"):
                return str(blocker["message"])
    return ""


def _started(pod: Pod) -> bool:
    is_live = not pod.metadata.deletion_timestamp
    return is_live and any(each.state.running for each in pod.status.container_statuses)


def _since(pod: Pod) -> datetime | None:
    times = [each.state.running.started_at for each in pod.status.container_statuses if each.state.running]
    return latest([parse_time(text) for text in times])
