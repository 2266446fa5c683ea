"""Partial apps/v1, batch/v1 and policy kinds. `spec` is kept whole: the planner compares it with what it wants.

The status of a StatefulSet or Deployment only counts its pods, which we watch: what a controller counts is no news.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from kaito.api.meta import Condition, Json, ObjectMeta, ResourceKind, Whole

STATEFUL_SET = ResourceKind("apps", "v1", "StatefulSet", "statefulsets", True)
DEPLOYMENT = ResourceKind("apps", "v1", "Deployment", "deployments", True)
REPLICA_SET = ResourceKind("apps", "v1", "ReplicaSet", "replicasets", True)
CONTROLLER_REVISION = ResourceKind("apps", "v1", "ControllerRevision", "controllerrevisions", True)
POD_DISRUPTION_BUDGET = ResourceKind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True)
POD_DISRUPTION_BUDGET_BETA = POD_DISRUPTION_BUDGET._replace(version="v1beta1")  # before Kubernetes 1.21
JOB = ResourceKind("batch", "v1", "Job", "jobs", True)


class Child(Protocol):
    """What every namespaced child has, as its planner sees it."""

    @property
    def metadata(self) -> ObjectMeta: ...

    @property
    def spec(self) -> Json: ...

    @property
    def spec_json(self) -> msgspec.Raw: ...


class ControllerRevision(msgspec.Struct, frozen=True, gc=False):
    """A spec as it once was, numbered. What it was nobody asks: its hash is an annotation."""

    metadata: ObjectMeta = ObjectMeta()
    revision: int = 0


class PodDisruptionBudget(Whole, frozen=True, gc=False):
    """How many of the pods may be taken away at once."""


class JobStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: str | None = None
    completion_time: str | None = None
    conditions: tuple[Condition, ...] = ()


class Job(Whole, frozen=True, gc=False):
    status: JobStatus = JobStatus()

    @property
    def end(self) -> Condition | None:
        """The condition, Complete or Failed, with which it has ended; None while it has not."""
        ends = (each for each in self.status.conditions if each.type in ("Complete", "Failed"))
        return next((each for each in ends if each.status == "True"), None)


class Deployment(Whole, frozen=True, gc=False):
    """The pods of a RAGEngine."""


class StatefulSet(Whole, frozen=True, gc=False):
    """The pods of a model server."""
