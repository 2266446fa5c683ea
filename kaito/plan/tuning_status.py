"""The status of a tuning Workspace: JobStarted in the place of InferenceReady, and how far the trainer has come."""

from __future__ import annotations

from collections.abc import Sequence

from kaito.api.meta import Json
from kaito.plan.conditions import WantedCondition
from kaito.plan.explain import causes, headline
from kaito.plan.snapshot import Snapshot
from kaito.plan.status import (
    CONDITION_OF_GATE,
    SUCCEEDED,
    WORKLOAD_CONDITIONS,
    machine_conditions,
    pending,
    status_with,
)
from kaito.plan.training import progress_of
from kaito.plan.verdict import Failed, Ready, Verdict, is_open

JOB_STARTED = "JobStarted"
JOB_GATE = "JobSucceeded"


def tuning_status(s: Snapshot, verdicts: Sequence[Verdict], *, generation: int) -> Json:
    """The whole status that the Workspace should have now. When the Job has ended, its machines say nothing more."""
    work = [verdict for verdict in verdicts if CONDITION_OF_GATE[verdict.gate] in WORKLOAD_CONDITIONS]
    job = next((verdict for verdict in work if verdict.gate == JOB_GATE), None)
    machines = () if s.end else tuple(machine_conditions(s, verdicts))
    started = _started(work, job)
    is_done = isinstance(job, Ready)
    closed = [verdict for verdict in verdicts if not is_open(verdict)]
    done = (
        WantedCondition(SUCCEEDED, True, "workspaceSucceeded", "the adapter is written")
        if is_done or not closed
        else pending(causes(verdicts)[0])
    )
    status = status_with(
        s, verdicts, (*machines, started, done), state=_state(work, started, is_done), generation=generation
    )
    progress = progress_of(s)
    return status | ({"progress": progress.status} if progress else {})


def _started(work: Sequence[Verdict], job: Verdict | None) -> WantedCondition:
    """JobStarted: true from the first container on, whatever comes of it; failed while something must be done."""
    failure = next((verdict for verdict in work if isinstance(verdict, Failed)), None)
    if failure is not None:
        return WantedCondition(JOB_STARTED, False, "WorkspaceTuningJobStatusFailed", headline(failure))
    if job is not None and (isinstance(job, Ready) or (not is_open(job) and job.reason == "Training")):
        return WantedCondition(JOB_STARTED, True, "WorkspaceTuningJobStatusStarted", job.message)
    waiting = next((verdict for verdict in work if not is_open(verdict)), None)
    message = waiting.message if waiting else "the Job is created when the nodes are ready"
    return WantedCondition(JOB_STARTED, False, "WorkspaceTuningJobStatusPending", message)


def _state(work: Sequence[Verdict], started: WantedCondition, is_done: bool) -> str:
    if is_done:
        return "Succeeded"
    if any(isinstance(verdict, Failed) for verdict in work):
        return "Failed"
    return "Running" if started.is_true else "Pending"
