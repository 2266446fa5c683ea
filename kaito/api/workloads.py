"""Partial apps/v1, batch/v1 and policy kinds. `spec` is kept whole: the planner compares it with what it wants."""

from __future__ import annotations

from typing import Protocol

import msgspec

from kaito.api.meta import Condition, Json, ObjectMeta, ResourceKind

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


class StatefulSetStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    conditions: tuple[Condition, ...] = ()


class ControllerRevision(msgspec.Struct, frozen=True, gc=False):
    """A spec as it once was, numbered."""

    metadata: ObjectMeta = ObjectMeta()
    revision: int = 0
    data: Json = {}


class PodDisruptionBudget(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: Json = {}


class StatefulSet(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: Json = {}
    status: StatefulSetStatus = StatefulSetStatus()
