"""The StatefulSet that serves a preset: one pod per node, each with all GPUs of its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import INHERITED_LABELS, LABEL_WORKSPACE, headless_service_name
from kaito.api.workloads import STATEFUL_SET
from kaito.plan.ownership import child_head
from kaito.plan.placement import node_affinity, tolerations
from kaito.plan.pods.adapters import Adapter, adapters_part
from kaito.plan.pods.part import PodPart, together
from kaito.plan.pods.probes import server_probes
from kaito.plan.pods.resources import server_resources
from kaito.plan.pods.security import CONTAINER_SECURITY, POD_SECURITY, scratch
from kaito.plan.pods.weights import Weights, weights_part
from kaito.plan.ports import KV_EVENTS_PORT, SERVER_PORT
from kaito.state.view import ServerCapabilities

CONFIG_DIR = "/mnt/config"

DEEP_GEMM_ARCHITECTURES = frozenset({"DeepseekV4ForCausalLM", "DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"})


@dataclass(frozen=True, slots=True)
class Serving:
    """What a preset's pods run and need. `weights_gib` sets how long a start may take."""

    image: str
    command: list[str]
    replicas: int
    gpus: int
    weights_gib: float
    weights: Weights
    architecture: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    resources: Json = field(default_factory=dict)  # what the user asks for beside devices
    config_map: str = ""  # empty: none
    access_secret: str = ""  # empty: none; its key HF_TOKEN is the hub's token
    adapters: tuple[Adapter, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)  # node labels that the pods insist on
    uses_image_volumes: bool = False


def inference_stateful_set(
    root: ObjectRef,
    owner: Json,
    root_labels: Mapping[str, str],
    serving: Serving,
    *,
    cloud_provider: str,
    capabilities: ServerCapabilities,
) -> Json:
    """The StatefulSet of the Workspace's name. Fields that the server does not know are left out."""
    labels = {LABEL_WORKSPACE: root.name} | {key: root_labels[key] for key in INHERITED_LABELS if key in root_labels}
    part = _parts(root, serving)
    spec: Json = {
        "replicas": serving.replicas,
        "serviceName": headless_service_name(root.name),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": _pod(root, serving, part, cloud_provider, capabilities)},
    }
    if part.claims:
        spec["volumeClaimTemplates"] = list(part.claims)
    if capabilities.at_least(27):  # beta and on by default; before, servers drop it or refuse it
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    return child_head(STATEFUL_SET, root, owner, labels) | {"spec": spec}


def _parts(root: ObjectRef, serving: Serving) -> PodPart:
    return together(
        (
            _server(serving),
            weights_part(root, serving.weights, puller=serving.image, uses_image_volumes=serving.uses_image_volumes),
            PodPart(
                ({"name": "dshm", "emptyDir": {"medium": "Memory"}},), ({"name": "dshm", "mountPath": "/dev/shm"},)
            ),
            scratch(),
            _config(serving),
            adapters_part(serving.adapters, puller=serving.image, uses_image_volumes=serving.uses_image_volumes),
        )
    )


def _server(serving: Serving) -> PodPart:
    env: list[Json] = [
        {"name": "VLLM_USE_FLASHINFER_SAMPLER", "value": "0"},
        {"name": "VLLM_USE_DEEP_GEMM", "value": "1" if serving.architecture in DEEP_GEMM_ARCHITECTURES else "0"},
    ]
    if serving.access_secret:
        key = {"name": serving.access_secret, "key": "HF_TOKEN", "optional": True}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    if serving.replicas > 1:
        env.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})
    return PodPart(env=tuple(env))


def _config(serving: Serving) -> PodPart:
    if not serving.config_map:
        return PodPart()
    volume = {"name": "config-volume", "configMap": {"name": serving.config_map}}
    return PodPart((volume,), ({"name": "config-volume", "mountPath": CONFIG_DIR, "readOnly": True},))


def _pod(
    root: ObjectRef, serving: Serving, part: PodPart, cloud_provider: str, capabilities: ServerCapabilities
) -> Json:
    pod: Json = {
        "securityContext": POD_SECURITY,
        "automountServiceAccountToken": False,
        # A Service that happens to be called vllm would set VLLM_PORT, which vLLM takes for its own.
        "enableServiceLinks": False,
        "tolerations": tolerations(cloud_provider, serving.gpu_resource),
        "containers": [_container(root, serving, part, capabilities)],
        "volumes": list(part.volumes),
    }
    if part.init_containers:
        pod["initContainers"] = list(part.init_containers)
    if part.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in part.pull_secrets]
    if affinity := node_affinity(serving.pins):
        pod["affinity"] = affinity
    return pod


def _container(root: ObjectRef, serving: Serving, part: PodPart, capabilities: ServerCapabilities) -> Json:
    return {
        "name": root.name,
        "image": serving.image,
        "command": serving.command,
        "env": list(part.env),
        "ports": [
            {"name": "http", "containerPort": SERVER_PORT, "protocol": "TCP"},
            {"name": "kv-events", "containerPort": KV_EVENTS_PORT, "protocol": "TCP"},
        ],
        "resources": server_resources(serving.gpu_resource, serving.gpus, serving.resources),
        "volumeMounts": list(part.mounts),
        "securityContext": CONTAINER_SECURITY,
        # The kubelet then puts the log's tail into the status: a crash explains itself without another request.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **server_probes(serving.weights_gib, replicas=serving.replicas, capabilities=capabilities),
    }
