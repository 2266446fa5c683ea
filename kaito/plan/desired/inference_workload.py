"""The StatefulSet that serves a preset: one pod per node, each with all GPUs of its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LABEL_WORKSPACE, WORKSPACE_UID_ANNOTATION, bounded_name, headless_service_name
from kaito.api.workloads import STATEFUL_SET
from kaito.plan.placement import node_affinity, tolerations
from kaito.plan.ports import KV_EVENTS_PORT, SERVER_PORT
from kaito.state.view import ServerCapabilities

CONFIG_DIR = "/mnt/config"
ADAPTERS_DIR = "/mnt/adapter"
WEIGHTS_DIR = "/workspace/weights"

PROBE_PERIOD_S = 10
STARTUP_BASE_S = 15 * 60
STARTUP_PER_GIB_S = 18
STARTUP_MIN_S = 30 * 60
STARTUP_MAX_S = 180 * 60

DEEP_GEMM_ARCHITECTURES = frozenset({"DeepseekV4ForCausalLM", "DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"})
# Keys that an InferenceSet or MultiRoleInference puts on its Workspaces, and that select their pods.
INHERITED_LABELS = (
    "inferenceset.kaito.sh/created-by",
    "multiroleinference.kaito.sh/created-by",
    "kaito.sh/inference-role",
)


@dataclass(frozen=True, slots=True)
class Serving:
    """What a preset's pods run and need. `weights_gib` sets how long a start may take."""

    image: str
    command: list[str]
    replicas: int
    gpus: int
    weights_gib: float
    architecture: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    config_map: str = ""  # empty: none
    access_secret: str = ""  # empty: none; its key HF_TOKEN is the hub's token
    adapters: Mapping[str, Json] = field(default_factory=dict)  # name → the volume source that holds it
    pins: Mapping[str, str] = field(default_factory=dict)  # node labels that the pods insist on


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
    spec: Json = {
        "replicas": serving.replicas,
        "serviceName": headless_service_name(root.name),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": _pod(root, serving, cloud_provider, capabilities)},
    }
    if capabilities.at_least(27):  # beta and on by default; before, servers drop it or refuse it
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    return {
        "apiVersion": STATEFUL_SET.api_version,
        "kind": STATEFUL_SET.kind,
        "metadata": {
            "name": root.name,
            "namespace": root.namespace,
            "labels": labels,
            "annotations": {WORKSPACE_UID_ANNOTATION: owner["uid"]},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def startup_failures(weights_gib: float) -> int:
    """How many probe periods a start may take: 15 minutes and 18 s per GiB of weights, within 30 and 180 minutes."""
    budget_s = STARTUP_BASE_S + STARTUP_PER_GIB_S * weights_gib
    return ceil(min(max(budget_s, STARTUP_MIN_S), STARTUP_MAX_S) / PROBE_PERIOD_S)


def _pod(root: ObjectRef, serving: Serving, cloud_provider: str, capabilities: ServerCapabilities) -> Json:
    pod: Json = {
        "tolerations": tolerations(cloud_provider, serving.gpu_resource),
        "containers": [_container(root, serving, capabilities)],
        "volumes": _volumes(serving),
    }
    if affinity := node_affinity(serving.pins):
        pod["affinity"] = affinity
    return pod


def _container(root: ObjectRef, serving: Serving, capabilities: ServerCapabilities) -> Json:
    devices = {serving.gpu_resource: str(serving.gpus)}
    return {
        "name": root.name,
        "image": serving.image,
        "command": serving.command,
        "env": _env(serving),
        "ports": [
            {"name": "http", "containerPort": SERVER_PORT, "protocol": "TCP"},
            {"name": "kv-events", "containerPort": KV_EVENTS_PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": devices, "limits": devices},
        "volumeMounts": _mounts(serving),
        # The kubelet then puts the log's tail into the status: a crash explains itself without another request.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(serving, capabilities),
    }


def _env(serving: Serving) -> list[Json]:
    env: list[Json] = [
        {"name": "VLLM_USE_FLASHINFER_SAMPLER", "value": "0"},
        {"name": "VLLM_USE_DEEP_GEMM", "value": "1" if serving.architecture in DEEP_GEMM_ARCHITECTURES else "0"},
    ]
    if serving.access_secret:
        key = {"name": serving.access_secret, "key": "HF_TOKEN", "optional": True}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    if serving.replicas > 1:
        env.append({"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})
    return env


def _mounts(serving: Serving) -> list[Json]:
    mounts: list[Json] = [
        {"name": "model-weights-volume", "mountPath": WEIGHTS_DIR},
        {"name": "dshm", "mountPath": "/dev/shm"},
    ]
    if serving.config_map:
        mounts.append({"name": "config-volume", "mountPath": CONFIG_DIR})
    for name in sorted(serving.adapters):
        mounts.append({"name": _adapter_volume(name), "mountPath": f"{ADAPTERS_DIR}/{name}", "readOnly": True})
    return mounts


def _volumes(serving: Serving) -> list[Json]:
    volumes: list[Json] = [
        {"name": "model-weights-volume", "emptyDir": {}},
        {"name": "dshm", "emptyDir": {"medium": "Memory"}},
    ]
    if serving.config_map:
        volumes.append({"name": "config-volume", "configMap": {"name": serving.config_map}})
    for name, source in sorted(serving.adapters.items()):
        volumes.append({"name": _adapter_volume(name), **source})
    return volumes


def _adapter_volume(name: str) -> str:
    return bounded_name(f"adapter-volume-{name.replace('.', '-')}")


def _probes(serving: Serving, capabilities: ServerCapabilities) -> Json:
    failures = startup_failures(serving.weights_gib)
    if serving.replicas > 1:
        return _probes_of_many(failures, capabilities)
    return {
        "startupProbe": _http("/ready") | {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": failures},
        "livenessProbe": _http("/health") | {"periodSeconds": PROBE_PERIOD_S, "failureThreshold": 3},
        "readinessProbe": _http("/ready") | {"periodSeconds": PROBE_PERIOD_S},
    }


def _probes_of_many(failures: int, capabilities: ServerCapabilities) -> Json:
    """Only pod 0 serves HTTP: the others are judged by their Ray node."""
    liveness = _exec("/health") | {"periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5, "failureThreshold": 3}
    if capabilities.at_least(25):
        liveness["terminationGracePeriodSeconds"] = 1  # a broken group cannot finish its requests: start over at once
    ready = _exec("/ready") | {"periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5}
    return {
        "startupProbe": ready | {"failureThreshold": failures},
        "livenessProbe": liveness,
        "readinessProbe": ready | {"failureThreshold": 1},
    }


def _http(path: str) -> Json:
    return {"httpGet": {"path": path, "port": SERVER_PORT, "scheme": "HTTP"}}


def _exec(path: str) -> Json:
    url = f"http://${{KAITO_BIND_ADDRESS:-127.0.0.1}}:${{KAITO_BIND_PORT:-{SERVER_PORT}}}{path}"
    leader = f'exec python -c "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=4)" "{url}"'
    worker = "exec ray status"
    script = f'if [ "${{POD_NAME##*-}}" = 0 ]; then {leader}; else {worker}; fi'
    return {"exec": {"command": ["/bin/sh", "-c", script]}}
