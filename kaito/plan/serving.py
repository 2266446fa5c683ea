"""What a preset's pods run: the Workspace's wishes, the model's needs and the machine, as `Serving`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kaito.api.names import (
    CONTAINER_RESOURCES_ANNOTATION,
    CREATED_BY_INFERENCE_SET_LABEL,
    DISABLE_BENCHMARK_ANNOTATION,
    LOCAL_DISK_CLASS,
    PERFORMANCE_MODE_ANNOTATION,
    RUNTIME_ANNOTATION,
    USE_LOCAL_WEIGHTS_ANNOTATION,
    headless_service_name,
)
from kaito.api.workspace import AdapterSpec, Workspace
from kaito.plan.catalog import Preset
from kaito.plan.desired.inference_command import ModelFlags, inference_command
from kaito.plan.desired.inference_workload import Serving
from kaito.plan.estimate import UTILIZATION, gpu_memory_utilization
from kaito.plan.pods.adapters import Adapter
from kaito.plan.pods.images import mounts_images
from kaito.plan.pods.resources import asked_resources
from kaito.plan.pods.weights import Weights
from kaito.plan.provision import provisioner_of
from kaito.plan.roots import RootMeta
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot


def serving_of(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, image: str) -> Serving:
    """What the pods of the Workspace's preset run, with this image."""
    preset, inference = sizing.preset, ws.inference
    assert preset is not None and inference is not None, "a workload is planned only for an open sizing"
    options = inference.preset.preset_options if inference.preset else None
    weights = _weights(s, root, ws, sizing, preset)
    return Serving(
        image=image,
        command=_command(s, root, ws, sizing, preset, weights),
        replicas=sizing.nodes or 1,
        gpus=sizing.gpus_per_pod,
        weights_gib=preset.weights_gib,
        weights=weights,
        architecture=preset.architecture,
        gpu_resource=sizing.gpu_resource,
        resources=asked_resources(root.annotations.get(CONTAINER_RESOURCES_ANNOTATION, "")),
        config_map=inference.config or "",
        adapters=tuple(_adapter(each) for each in inference.adapters),
        access_secret=(options.model_access_secret or "") if options else "",
        pins=node_pins(s, root),
        uses_image_volumes=mounts_images(s.settings.image_volumes, s.view.capabilities, s.nodes),
    )


def engine_of(root: RootMeta) -> Literal["auto", "transformers"]:
    return "transformers" if root.annotations.get(RUNTIME_ANNOTATION) == "transformers" else "auto"


def measures_itself(s: Snapshot, root: RootMeta, sizing: Sizing) -> bool:
    """Whether the server is told to measure itself after loading."""
    is_wanted = root.annotations.get(DISABLE_BENCHMARK_ANNOTATION) != "true" and s.settings.benchmark
    return is_wanted and sizing.preset is not None and engine_of(root) == "auto"


def node_pins(s: Snapshot, root: RootMeta) -> Mapping[str, str]:
    """The user's labels and those of the root's own nodes: pods never land on a sibling's."""
    return s.match_labels | provisioner_of(s.view, root.ref, s.settings).pins(root.ref)


def _weights(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, preset: Preset) -> Weights:
    """On the machine where the annotation says so, in the image of a private preset, else from the hub."""
    if root.annotations.get(USE_LOCAL_WEIGHTS_ANNOTATION) == "true":
        return Weights("node", preset.model_id)
    asked = ws.inference.preset if ws.inference else None
    options = asked.preset_options if asked else None
    if asked and options and asked.access_mode == "private" and options.image:
        return Weights("image", preset.model_id, options.image, options.image_pull_secrets)
    claim_gib = preset.disk_gib if _uses_local_disk(s, sizing) else 0
    return Weights("hub", preset.model_id, claim_gib=claim_gib, endpoint=s.settings.hub_mirror)


def _uses_local_disk(s: Snapshot, sizing: Sizing) -> bool:
    """A claim on the machine's NVMe. What exists stays as it was made: claim templates cannot be changed."""
    if s.workload is not None:
        return bool(s.workload.spec.get("volumeClaimTemplates"))
    return sizing.sku is not None and sizing.sku.has_nvme and s.view.has_storage_class(LOCAL_DISK_CLASS)


def _adapter(spec: AdapterSpec) -> Adapter:
    assert spec.source is not None, "sizing refuses adapters without a source"
    source = spec.source
    return Adapter(source.name, source.volume_source, source.image, source.image_pull_secrets, spec.strength)


def _command(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing, preset: Preset, weights: Weights) -> list[str]:
    inference, ref = ws.inference, root.ref
    model = ModelFlags(
        model=weights.model,
        served_name=root.labels.get(CREATED_BY_INFERENCE_SET_LABEL) or preset.name,
        architecture=preset.architecture,
        is_quantized=bool(preset.quant_method),
        load_format="runai_streamer" if weights.source == "node" else preset.load_format,
        config_format=preset.config_format,
        tokenizer_mode=preset.tokenizer_mode,
        tool_parser=preset.tool_parser,
        reasoning_parser=preset.reasoning_parser,
        chat_template=preset.chat_template,
        download_dir=weights.download_dir,
    )
    return inference_command(
        model,
        sizing.parallelism,
        engine=engine_of(root),
        has_config=bool(inference and inference.config),
        has_adapters=bool(inference and inference.adapters),
        gpu_memory_utilization=gpu_memory_utilization(sizing.sku) if sizing.sku else UTILIZATION,
        performance_mode=root.annotations.get(PERFORMANCE_MODE_ANNOTATION, ""),
        is_sliced=sizing.gpu_resource.startswith("nvidia.com/mig-"),
        measures=measures_itself(s, root, sizing),
        leader_address=f"{ref.name}-0.{headless_service_name(ref.name)}.{ref.namespace}.svc.cluster.local",
    )
