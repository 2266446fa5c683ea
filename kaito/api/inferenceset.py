"""kaito.sh/v1beta1 InferenceSet: several Workspaces alike, as many as `spec.replicas` says."""

from __future__ import annotations

from pydantic import Field

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workspace import (
    Blocker,
    ConditionStatus,
    InferenceSpec,
    LabelSelector,
    Opaque,
    Partition,
    Performance,
    RootObject,
    Wire,
    parse_as,
)

INFERENCE_SET = ResourceKind("kaito.sh", "v1beta1", "InferenceSet", "inferencesets", True)


class ReplicaResource(Wire):
    instance_type: str = Field("", description="The instance type of the nodes.")
    partition: Partition | None = Field(None, description="Use a part of each GPU or of the node's GPUs.")


class ReplicaTemplate(Wire):
    metadata: Opaque = Field({}, description="Labels and annotations of each replica (core/v1 ObjectMeta).")
    resource: ReplicaResource = Field(
        default_factory=lambda: ReplicaResource.model_validate({}), description="The machines of each replica."
    )
    inference: InferenceSpec = Field(description="What each replica serves. Required.")


class MaintenanceWindow(Wire):
    schedule: str = Field(description="When the window opens: five-field cron, UTC.")
    duration: str = Field("4h", description="How long it stays open.")


class AutoUpgrade(Wire):
    enabled: bool = Field(False, description="Follow the operator's model server image.")
    strategy: str = Field("InPlace", description="InPlace or Surge.")
    maintenance_window: MaintenanceWindow | None = Field(None, description="When upgrades may begin.")


class InferenceSetSpec(Wire):
    replicas: int = Field(1, ge=0, description="How many Workspaces to keep.", json_schema_extra={"format": "int32"})
    template: ReplicaTemplate = Field(description="What each of them is. Required.")
    label_selector: LabelSelector = Field(description="Which nodes the replicas may use. Required.")
    node_count_limit: int | None = Field(None, description="The most nodes that all replicas together may have.")
    update_strategy: Opaque = Field({}, description="Replicas are changed one at a time, whatever this says.")
    auto_upgrade: AutoUpgrade | None = Field(None, description="When the replicas follow a new image.")


class AutoUpgradeStatus(Wire):
    num_drifted_workspaces: int | None = Field(
        None,
        description="How many replicas run another image than the operator's.",
        json_schema_extra={"format": "int32"},
    )
    last_successful_upgrade_time: str | None = Field(
        None, description="When the last of them came to it.", json_schema_extra={"format": "date-time"}
    )


class InferenceSetStatus(Wire):
    replicas: int = Field(0, description="How many replicas there are.", json_schema_extra={"format": "int32"})
    ready_replicas: int = Field(0, description="How many of them answer.", json_schema_extra={"format": "int32"})
    selector: str = Field("", description="Selects the replicas' pods, for autoscalers.")
    conditions: tuple[ConditionStatus, ...] = Field(
        (),
        description="The latest judgements, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    performance: Performance | None = Field(None, description="What the replicas measured, together.")
    auto_upgrade: AutoUpgradeStatus | None = Field(None, description="How far an automatic upgrade has come.")
    blockers: tuple[Blocker, ...] = Field((), description="What the replicas wait for, deepest cause first.")


class InferenceSet(RootObject):
    spec: InferenceSetSpec = Field(description="What is wanted.")

    @property
    def ref(self) -> ObjectRef:
        return INFERENCE_SET.ref(self.metadata.namespace, self.metadata.name)


def parse_inference_set(raw: Json) -> InferenceSet | tuple[str, ...]:
    """The InferenceSet, or what is wrong with it."""
    return parse_as(InferenceSet, raw)
