"""The Job that tunes a model: data in, trainer, adapter out.

The pod restarts its containers (`OnFailure`) instead of being replaced: a killed trainer then finds its checkpoints in
the same volume and goes on. `backoffLimit` bounds the attempts, and ends the pusher with the pod.

A pod that is evicted, or whose node is drained or taken back, is replaced by one that goes on as well: from the output
volume, or, where the adapter goes to a registry and the output folder ends with its pod, from the checkpoint that the
pusher keeps there (`kaito.tuning.checkpoints`). The grace covers the trainer's last checkpoint and its way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LABEL_WORKSPACE, TUNING_HASH_ANNOTATION
from kaito.api.workloads import JOB
from kaito.plan.ownership import child_head
from kaito.plan.placement import GPU_RESOURCE, node_affinity, tolerations
from kaito.plan.pods.images import AUTH_DIR, PulledImage, pulled
from kaito.plan.pods.part import PodPart, together
from kaito.plan.pods.resources import server_resources
from kaito.plan.pods.security import CONTAINER_SECURITY, POD_SECURITY, scratch
from kaito.plan.pods.weights import Weights, weights_part
from kaito.plan.ports import SERVER_PORT

BACKOFF_LIMIT = 3
TERMINATION_GRACE_S = 120  # a step and its checkpoint, then the push; clouds give a spot machine 30 to 120 s
DATA_DIR = "/mnt/data"
CONFIG_DIR = "/mnt/config"
CONFIG_FILE = "training_config.yaml"
RESULTS_VOLUME = "results-volume"
PUSH_SECRET_VOLUME = "docker-config"
TERMINATION_LOG = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the Job runs. One of `urls`, `data_image`, `data_volume` is given; one of `push_image`, `output_volume`."""

    image: str
    method: str
    model: str  # the preset's name, as the adapter's image says it
    weights: Weights
    processes: int
    gpus: int
    digest: str  # of the tuning section: another one means another Job
    output_dir: str
    config_map: str = ""  # empty: the built-in template of the method
    urls: tuple[str, ...] = ()
    data_image: str = ""
    data_pull_secrets: tuple[str, ...] = ()
    data_volume: Mapping[str, object] | None = None
    push_image: str = ""
    push_secret: str = ""
    output_volume: Mapping[str, object] | None = None
    access_secret: str = ""
    gpu_resource: str = GPU_RESOURCE
    resources: Json = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)


def tuning_job(root: ObjectRef, owner: Json, tuning: Tuning, *, cloud_provider: str) -> Json:
    """The Job of the Workspace's name."""
    labels = {LABEL_WORKSPACE: root.name}
    part = _parts(root, tuning)
    containers = [_trainer(root, tuning, part), *([_pusher(tuning)] if tuning.push_image else [])]
    pod: Json = {
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
        "securityContext": POD_SECURITY,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": tolerations(cloud_provider, tuning.gpu_resource),
        "containers": containers,
        "volumes": list(part.volumes),
    }
    if part.init_containers:
        pod["initContainers"] = list(part.init_containers)
    if affinity := node_affinity(tuning.pins):
        pod["affinity"] = affinity
    return child_head(JOB, root, owner, labels, annotations={TUNING_HASH_ANNOTATION: tuning.digest}) | {
        "spec": {"backoffLimit": BACKOFF_LIMIT, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _parts(root: ObjectRef, tuning: Tuning) -> PodPart:
    return together(
        (
            PodPart(env=tuple(_env(tuning))),
            _restorer(tuning),
            weights_part(root, tuning.weights, puller=tuning.image, uses_image_volumes=False),
            _volume("dshm", "/dev/shm", {"emptyDir": {"medium": "Memory"}}),
            scratch(),
            _config(tuning),
            _data(tuning),
            _volume(RESULTS_VOLUME, tuning.output_dir, tuning.output_volume or {"emptyDir": {}}),
            _push_secret(tuning),
        )
    )


def _volume(name: str, path: str, source: Mapping[str, object], *, is_read_only: bool = False) -> PodPart:
    mount = {"name": name, "mountPath": path} | ({"readOnly": True} if is_read_only else {})
    return PodPart(({"name": name, **source},), (mount,))


def _env(tuning: Tuning) -> list[Json]:
    env: list[Json] = [
        {"name": "PYTORCH_CUDA_ALLOC_CONF", "value": "expandable_segments:True"},
        {"name": "HF_HOME", "value": tuning.weights.download_dir or "/tmp"},
    ]
    if tuning.access_secret:
        key = {"name": tuning.access_secret, "key": "HF_TOKEN", "optional": True}
        env.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    return env


def _config(tuning: Tuning) -> PodPart:
    if not tuning.config_map:
        return PodPart()
    return _volume("config-volume", CONFIG_DIR, {"configMap": {"name": tuning.config_map}}, is_read_only=True)


def _data(tuning: Tuning) -> PodPart:
    """The folder of the data, and what fills it before the trainer starts."""
    if tuning.data_volume is not None:
        return _volume("data-volume", DATA_DIR, tuning.data_volume, is_read_only=True)
    if tuning.data_image:
        image = PulledImage("data", tuning.data_image, DATA_DIR, tuning.data_pull_secrets)
        return pulled(image, puller=tuning.image, uses_volumes=False)
    folder = _volume("data-volume", DATA_DIR, {"emptyDir": {}})
    command = ["python", "-m", "kaito.tuning.fetch", f"--to={DATA_DIR}", *(f"--url={url}" for url in tuning.urls)]
    downloader = _small("data-downloader", tuning, command, folder.mounts)
    return PodPart(folder.volumes, folder.mounts, init_containers=(downloader,))


def _push_secret(tuning: Tuning) -> PodPart:
    if not tuning.push_secret:
        return PodPart()
    items = [{"key": ".dockerconfigjson", "path": "config.json"}]
    return PodPart(({"name": PUSH_SECRET_VOLUME, "secret": {"secretName": tuning.push_secret, "items": items}},))


def _trainer(root: ObjectRef, tuning: Tuning, part: PodPart) -> Json:
    config = f"--config={CONFIG_DIR}/{CONFIG_FILE}" if tuning.config_map else f"--template={tuning.method}"
    return {
        "name": root.name,
        "image": tuning.image,
        "command": [
            "python",
            "-m",
            "kaito.tuning",
            config,
            f"--method={tuning.method}",
            f"--model={tuning.weights.model}",
            f"--data-dir={DATA_DIR}",
            f"--output-dir={tuning.output_dir}",
            f"--processes={tuning.processes}",
            f"--termination-log={TERMINATION_LOG}",
        ],
        "env": list(part.env),
        "ports": [{"name": "metrics", "containerPort": SERVER_PORT, "protocol": "TCP"}],
        "resources": server_resources(tuning.gpu_resource, tuning.gpus, tuning.resources),
        "volumeMounts": list(part.mounts),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _pusher(tuning: Tuning) -> Json:
    return _small(
        "pusher", tuning, [*_to_registry("push", tuning), f"--model={tuning.model}"], _registry_mounts(tuning)
    )


def _restorer(tuning: Tuning) -> PodPart:
    """Where the output folder ends with its pod: what an earlier one has left in the registry."""
    if not tuning.push_image:
        return PodPart()
    command = _to_registry("restore", tuning)
    return PodPart(init_containers=(_small("checkpoint-restorer", tuning, command, _registry_mounts(tuning)),))


def _to_registry(verb: str, tuning: Tuning) -> list[str]:
    return [
        "python",
        "-m",
        f"kaito.tuning.{verb}",
        f"--output-dir={tuning.output_dir}",
        f"--image={tuning.push_image}",
        f"--auth-dir={AUTH_DIR}",
        f"--termination-log={TERMINATION_LOG}",
    ]


def _registry_mounts(tuning: Tuning) -> tuple[Json, ...]:
    return (
        {"name": RESULTS_VOLUME, "mountPath": tuning.output_dir},
        {"name": PUSH_SECRET_VOLUME, "mountPath": AUTH_DIR, "readOnly": True},
    )


def _small(name: str, tuning: Tuning, command: list[str], mounts: tuple[Json, ...]) -> Json:
    """A container that moves files."""
    return {
        "name": name,
        "image": tuning.image,
        "command": command,
        "volumeMounts": list(mounts),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
    }
