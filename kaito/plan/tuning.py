"""A tuning Workspace's Job: what it runs."""

from __future__ import annotations

import hashlib
import json

from kaito.api.meta import Json
from kaito.api.names import CONTAINER_RESOURCES_ANNOTATION
from kaito.api.workspace import Workspace
from kaito.plan.desired.tuning_job import Tuning, tuning_job
from kaito.plan.ownership import controller_reference
from kaito.plan.pods.proxy import behind_proxy
from kaito.plan.pods.resources import asked_resources
from kaito.plan.pods.weights import Weights
from kaito.plan.roots import RootMeta
from kaito.plan.serving import node_pins
from kaito.plan.sizing import Sizing
from kaito.plan.snapshot import Snapshot
from kaito.plan.tuning_memory import processes_on
from kaito.plan.validate.tuning import CONFIG_KEY, OUTPUT_DIR, method_of, output_dir_of


def tuning_body(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Json:
    """The Job as it should be."""
    owner = controller_reference(root.kind, root.ref.name, root.uid)
    job = tuning_job(root.ref, owner, _tuning(s, root, ws, sizing), cloud_provider=s.settings.cloud_provider)
    return behind_proxy(job, s.settings.proxy)


def tuning_digest(ws: Workspace) -> str:
    """Equal for equal tuning sections."""
    assert ws.tuning is not None
    text = json.dumps(ws.tuning.model_dump(mode="json", by_alias=True, exclude_unset=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tuning(s: Snapshot, root: RootMeta, ws: Workspace, sizing: Sizing) -> Tuning:
    tuning, preset = ws.tuning, sizing.preset
    assert tuning is not None and preset is not None and sizing.sku is not None, "only an open sizing has a Job"
    options = tuning.preset.preset_options if tuning.preset else None
    config = s.view.config_map(root.ref.namespace, tuning.config) if tuning.config else None
    return Tuning(
        image=s.settings.tuning_image,
        method=method_of(ws),
        model=preset.name,
        weights=Weights("hub", preset.model_id, endpoint=s.settings.hub_mirror),
        processes=processes_on(preset, sizing.sku, method_of(ws)),
        gpus=sizing.gpus_per_pod,
        digest=tuning_digest(ws),
        output_dir=output_dir_of(config.data.get(CONFIG_KEY, "")) if config else OUTPUT_DIR,
        config_map=tuning.config,
        urls=tuning.input.urls,
        data_image=tuning.input.image,
        data_pull_secrets=tuning.input.image_pull_secrets,
        data_volume=tuning.input.volume_source,
        push_image=tuning.output.image,
        push_secret=tuning.output.image_push_secret,
        output_volume=tuning.output.volume_source,
        access_secret=(options.model_access_secret or "") if options else "",
        gpu_resource=sizing.gpu_resource,
        resources=asked_resources(root.annotations.get(CONTAINER_RESOURCES_ANNOTATION, "")),
        pins=node_pins(s, root),
    )
