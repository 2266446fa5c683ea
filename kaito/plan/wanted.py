"""The children that a Workspace should have: spec, sizing and the operator's settings put into `plan.desired`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectMeta, ResourceKind
from kaito.api.names import (
    CONTAINER_RESOURCES_ANNOTATION,
    CREATED_BY_INFERENCE_SET_LABEL,
    DISABLE_BENCHMARK_ANNOTATION,
    ENABLE_LOAD_BALANCER_ANNOTATION,
    INHERITED_LABELS,
    LOCAL_DISK_CLASS,
    MADE_AS_ANNOTATION,
    MADE_FOR_ANNOTATION,
    NODE_CLASS_NAME_ANNOTATION,
    NODE_IMAGE_FAMILY_ANNOTATION,
    PERFORMANCE_MODE_ANNOTATION,
    RUNTIME_ANNOTATION,
    USE_LOCAL_WEIGHTS_ANNOTATION,
    headless_service_name,
)
from kaito.api.workloads import (
    JOB,
    STATEFUL_SET,
    Child,
)
from kaito.api.workspace import Workspace
from kaito.plan.born import as_born, is_upgrade_asked
from kaito.plan.children import ChildAction, reconcile_child
from kaito.plan.desired.disruption_budget import budget_kind, disruption_budget
from kaito.plan.desired.inference_workload import inference_stateful_set
from kaito.plan.desired.services import headless_service, inference_service
from kaito.plan.desired.template_workload import template_stateful_set
from kaito.plan.memo import Known
from kaito.plan.ownership import controller_reference
from kaito.plan.pods.images import mounts_images
from kaito.plan.pods.proxy import behind_proxy
from kaito.plan.provision.order import MachineOrder
from kaito.plan.roots import RootMeta
from kaito.plan.serving import engine_of, node_pins, serving_of
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.plan.tuning import tuning_body
from kaito.settings import PlanSettings

# What a user writes on a Workspace that reaches its pods.
POD_ANNOTATIONS = (
    RUNTIME_ANNOTATION,
    PERFORMANCE_MODE_ANNOTATION,
    USE_LOCAL_WEIGHTS_ANNOTATION,
    CONTAINER_RESOURCES_ANNOTATION,
    DISABLE_BENCHMARK_ANNOTATION,
)
MADE_MARKS = (MADE_FOR_ANNOTATION, MADE_AS_ANNOTATION)
# What a server never lets change in a StatefulSet that exists.
IMMUTABLE = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")


def machine_order(root: RootMeta, sizing: Sizing, settings: PlanSettings) -> MachineOrder:
    """What to ask the provisioner for."""
    family = root.annotations.get(NODE_IMAGE_FAMILY_ANNOTATION, "").strip().lower()
    return MachineOrder(
        sizing.instance_type,
        sizing.match_labels,
        image_family=family or settings.node_image_family,
        storage_gib=sizing.storage_gib,
        node_class=root.annotations.get(NODE_CLASS_NAME_ANNOTATION, ""),
        is_replica=CREATED_BY_INFERENCE_SET_LABEL in root.labels,
    )


def children(
    s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing
) -> Iterator[tuple[ResourceKind, Json, Child | None]]:
    """Each child that the Workspace should have, and what there is of it, in the order in which they are created.

    Services first: pods find their leader through them. The budget before the pods that it protects.
    """
    for kind, body in _bodies(s, root, ws, sizing):
        yield kind, body, _observed(s, kind, body["metadata"]["name"])


def amiss(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Iterator[tuple[ChildAction, Child | None]]:
    """What the children need, and what there is of each. Nothing is asked twice of children that are as they should be.

    The bodies are not kept for that: they would be a third of an operator's memory.
    """
    inputs = (_inputs(s, root, ws, sizing), _seen(s))
    if _as_wanted.get(root.uid) == inputs:
        _as_wanted.put(root.uid, inputs)  # those of now, so that no object of before is kept alive
        return
    is_right = True
    for kind, desired, observed in children(s, root, ws, sizing):
        if action := reconcile_child(kind, desired, observed, root_uid=root.uid, reason="the nodes are ready"):
            is_right = False
            yield action, observed
    if is_right:
        _as_wanted.put(root.uid, inputs)


_as_wanted: Known[tuple[Any, ...]] = Known()


def _seen(s: Snapshot) -> tuple[Any, ...]:
    """All that is compared of the children."""
    names = (s.ref.name, headless_service_name(s.ref.name))
    found = (*(s.view.service(s.ref.namespace, name) for name in names), s.view.budget(s.ref), s.workload)
    return tuple(child and (_compared(child.metadata), child.spec_json) for child in found)


def _compared(metadata: ObjectMeta) -> tuple[Any, ...]:
    marks = (metadata.uid, metadata.deletion_timestamp, metadata.owner_references)
    return (*marks, metadata.labels, metadata.annotations)


def _inputs(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> tuple[Any, ...]:
    """All that the bodies of the children depend on."""
    made = s.workload
    config = ws.tuning.config if ws.tuning else ""
    return (
        root.ref,
        (sizing, ws.inference, ws.tuning),
        (root.labels, root.annotations),
        node_pins(s, root),
        (made.spec_json, *(made.metadata.annotation(key) for key in MADE_MARKS)) if made else None,
        (s.settings, s.view.capabilities),
        s.view.has_storage_class(LOCAL_DISK_CLASS),
        mounts_images(s.settings.image_volumes, s.view.capabilities, s.nodes),
        s.view.config_map(root.ref.namespace, config) if config else None,
    )


def _observed(s: Snapshot, kind: ResourceKind, name: str) -> Child | None:
    if kind == SERVICE:
        return s.view.service(s.ref.namespace, name)
    return s.workload if kind == s.work.kind else s.view.budget(s.ref)


def _bodies(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Iterator[tuple[ResourceKind, Json]]:
    if ws.tuning is not None:
        yield JOB, tuning_body(s, root, ws, sizing)
        return
    owner = controller_reference(root.kind, root.ref.name, root.uid)
    is_load_balancer = root.annotations.get(ENABLE_LOAD_BALANCER_ANNOTATION) == "True"
    is_vllm = engine_of(root) == "auto"
    yield SERVICE, inference_service(root.ref, owner, is_load_balancer=is_load_balancer, is_vllm=is_vllm)
    yield SERVICE, headless_service(root.ref, owner)
    kind = budget_kind(s.view.capabilities)
    yield kind, disruption_budget(root.ref, owner, kind=kind)
    yield STATEFUL_SET, _workload(s, root, ws, sizing, owner)


def _workload(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, owner: Json) -> Json:
    """The StatefulSet, its pods as they were made while nobody asks for others (`plan.born`)."""
    inference = ws.inference
    if inference is not None and inference.template is not None:
        body = template_stateful_set(
            root.ref,
            owner,
            root.labels,
            inference.template,
            replicas=sizing.nodes or 1,
            pins=node_pins(s, root),
            cloud_provider=s.settings.cloud_provider,
        )
    else:
        made = inference_stateful_set(
            root.ref,
            owner,
            root.labels,
            serving_of(s, root, ws, sizing, s.settings.inference_image),
            cloud_provider=s.settings.cloud_provider,
            capabilities=s.view.capabilities,
        )
        body = behind_proxy(made, s.settings.proxy)
    return as_born(
        _as_first_made(body, s.workload),
        s.workload,
        inputs=_asked(s, root, ws, sizing),
        is_upgrade_asked=is_upgrade_asked(root, s.settings.inference_image),
    )


def _asked(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Json:
    """All that users ask for which reaches the pods. What equals a default is left out: a new field is no new wish."""
    inference = ws.inference.model_dump(mode="json", by_alias=True, exclude_defaults=True) if ws.inference else {}
    return {
        "inference": inference,
        "labels": {key: root.labels[key] for key in INHERITED_LABELS if key in root.labels},
        "annotations": {key: root.annotations[key] for key in POD_ANNOTATIONS if key in root.annotations},
        "pins": dict(node_pins(s, root)),
        "nodes": sizing.nodes,
        "devices": {sizing.gpu_resource: sizing.gpus_per_pod},
    }


def _as_first_made(body: Json, observed: Child | None) -> Json:
    """The body with what can no longer be changed as it is; its pods keep the labels that it selects them by."""
    if observed is None:
        return body
    spec = {key: value for key, value in body["spec"].items() if key not in IMMUTABLE}
    first = observed.spec
    spec |= {key: first[key] for key in IMMUTABLE if key in first}
    selected = (spec.get("selector") or {}).get("matchLabels") or {}
    template = spec["template"]
    labels = (template["metadata"].get("labels") or {}) | selected
    return body | {"spec": spec | {"template": template | {"metadata": template["metadata"] | {"labels": labels}}}}
