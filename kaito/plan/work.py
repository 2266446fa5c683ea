"""What a root may run: the kind that it is written as, what its pods are for, and which Services lead to them.

Gates and planners ask these and never the kind: a new way to run something is a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kaito.api.meta import Condition, ObjectRef, ResourceKind
from kaito.api.names import headless_service_name
from kaito.api.workloads import DEPLOYMENT, JOB, STATEFUL_SET, Child
from kaito.state.view import ClusterView

Goal: TypeAlias = Literal["answer", "end"]  # pods that are to answer requests, or to do their work and end


def _never(view: ClusterView, root: ObjectRef) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Work:
    """`services`: the names that lead to the pods of a root of this name; nobody else's may have them.

    `look_up`: what there is of it; `end`: the condition, Complete or Failed, with which it has ended.
    """

    kind: ResourceKind
    goal: Goal
    services: Callable[[str], tuple[str, ...]]
    look_up: Callable[[ClusterView, ObjectRef], Child | None]
    end: Callable[[ClusterView, ObjectRef], Condition | None] = _never


def _end_of_job(view: ClusterView, root: ObjectRef) -> Condition | None:
    job = view.job(root)
    return job.end if job else None


MODEL_SERVER = Work(
    STATEFUL_SET,
    "answer",
    lambda name: (name, headless_service_name(name)),
    lambda view, root: view.stateful_set(root),
)
RETRIEVAL_SERVICE = Work(DEPLOYMENT, "answer", lambda name: (name,), lambda view, root: view.deployment(root))
TRAINING = Work(JOB, "end", lambda name: (), lambda view, root: view.job(root), _end_of_job)
