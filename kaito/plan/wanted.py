"""The children that a Workspace should have: spec, sizing and the operator's settings put into `plan.desired`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kaito.api.meta import Json
from kaito.api.names import (
    DESIRED_HASH_ANNOTATION,
    ENABLE_LOAD_BALANCER_ANNOTATION,
    NODE_CLASS_NAME_ANNOTATION,
    NODE_IMAGE_FAMILY_ANNOTATION,
    PERFORMANCE_MODE_ANNOTATION,
    RUNTIME_ANNOTATION,
    headless_service_name,
)
from kaito.api.workspace import Workspace
from kaito.plan.catalog import Preset
from kaito.plan.desired.inference_command import ModelFlags, inference_command
from kaito.plan.desired.inference_workload import Serving, inference_stateful_set
from kaito.plan.desired.services import headless_service, inference_service
from kaito.plan.desired.template_workload import template_stateful_set
from kaito.plan.diff import desired_hash
from kaito.plan.estimate import UTILIZATION, gpu_memory_utilization
from kaito.plan.ownership import controller_reference
from kaito.plan.provision import provisioner_of
from kaito.plan.provision.order import MachineOrder
from kaito.plan.roots import WORKSPACE, RootMeta
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.settings import PlanSettings

CREATED_BY_INFERENCE_SET_LABEL = "inferenceset.kaito.sh/created-by"
UPGRADE_LABEL = "kaito.sh/upgrade-to-version"


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


def services(root: RootMeta) -> dict[str, Json]:
    """The Services by name, in the order in which they are created."""
    owner = _owner(root)
    is_load_balancer = root.annotations.get(ENABLE_LOAD_BALANCER_ANNOTATION) == "True"
    bodies = (
        inference_service(root.ref, owner, is_load_balancer=is_load_balancer, is_vllm=_engine(root) == "auto"),
        headless_service(root.ref, owner),
    )
    return {body["metadata"]["name"]: body for body in bodies}


def workload(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Json:
    """The StatefulSet. An image that we once chose stays while only the operator's default has moved on.

    Upgrading the operator must not restart every model server: the label kaito.sh/upgrade-to-version asks for that.
    """
    desired = _workload(s, root, ws, sizing, s.settings.inference_image)
    born_with = _image_of(s)
    if ws.inference is None or ws.inference.template is not None or not born_with or s.workload is None:
        return desired
    if root.labels.get(UPGRADE_LABEL) == _tag(s.settings.inference_image):
        return desired
    kept = _workload(s, root, ws, sizing, born_with)
    is_as_made = s.workload.metadata.annotation(DESIRED_HASH_ANNOTATION) == desired_hash(kept)
    return kept if is_as_made else desired


def _workload(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, image: str) -> Json:
    inference = ws.inference
    if inference is not None and inference.template is not None:
        return template_stateful_set(
            root.ref,
            _owner(root),
            inference.template,
            replicas=sizing.nodes or 1,
            pins=_pins(s, root),
            cloud_provider=s.settings.cloud_provider,
        )
    return inference_stateful_set(
        root.ref,
        _owner(root),
        root.labels,
        _serving(s, root, ws, sizing, image),
        cloud_provider=s.settings.cloud_provider,
        capabilities=s.view.capabilities,
    )


def _serving(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, image: str) -> Serving:
    preset, inference = sizing.preset, ws.inference
    assert preset is not None and inference is not None, "a workload is planned only for an open sizing"
    options = inference.preset.preset_options if inference.preset else None
    return Serving(
        image=image,
        command=_command(root, ws, sizing, preset),
        replicas=sizing.nodes or 1,
        gpus=sizing.gpus_per_pod,
        weights_gib=preset.weights_gib,
        architecture=preset.architecture,
        gpu_resource=sizing.gpu_resource,
        config_map=inference.config or "",
        adapters={
            adapter.source.name: adapter.source.volume_source
            for adapter in inference.adapters
            if adapter.source and adapter.source.volume_source
        },
        access_secret=(options.model_access_secret or "") if options else "",
        pins=_pins(s, root),
    )


def _command(root: RootMeta, ws: Workspace, sizing: Sizing, preset: Preset) -> list[str]:
    inference = ws.inference
    model = ModelFlags(
        repo_id=preset.model_id,
        served_name=root.labels.get(CREATED_BY_INFERENCE_SET_LABEL) or preset.name,
        architecture=preset.architecture,
        is_quantized=bool(preset.quant_method),
        load_format=preset.load_format,
        config_format=preset.config_format,
        tokenizer_mode=preset.tokenizer_mode,
        tool_parser=preset.tool_parser,
        reasoning_parser=preset.reasoning_parser,
    )
    return inference_command(
        model,
        sizing.parallelism,
        engine=_engine(root),
        has_config=bool(inference and inference.config),
        has_adapters=bool(inference and inference.adapters),
        gpu_memory_utilization=gpu_memory_utilization(sizing.sku) if sizing.sku else UTILIZATION,
        performance_mode=root.annotations.get(PERFORMANCE_MODE_ANNOTATION, ""),
        leader_address=f"{root.ref.name}-0.{headless_service_name(root.ref.name)}.{root.ref.namespace}.svc.cluster.local",
    )


def _engine(root: RootMeta) -> Literal["auto", "transformers"]:
    return "transformers" if root.annotations.get(RUNTIME_ANNOTATION) == "transformers" else "auto"


def _pins(s: Snapshot, root: RootMeta) -> Mapping[str, str]:
    """The user's labels and those of the root's own nodes: pods never land on a sibling's."""
    return s.match_labels | provisioner_of(s.view, root.ref, s.settings).pins(root.ref)


def _owner(root: RootMeta) -> Json:
    return controller_reference(WORKSPACE, root.ref.name, root.uid)


def _image_of(s: Snapshot) -> str:
    if s.workload is None:
        return ""
    containers = s.workload.spec.get("template", {}).get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _tag(image: str) -> str:
    return image.rpartition(":")[2]
