"""The Deployment and the Service of a RAGEngine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LABEL_RAGENGINE, LABEL_WORKSPACE
from kaito.api.workloads import DEPLOYMENT
from kaito.plan.ownership import child_head
from kaito.plan.placement import node_affinity, tolerations
from kaito.plan.pods.part import PodPart, together
from kaito.plan.pods.probes import server_probes
from kaito.plan.pods.resources import server_resources
from kaito.plan.pods.security import CONTAINER_SECURITY, POD_SECURITY, scratch
from kaito.plan.ports import HTTP_PORT, SERVER_PORT
from kaito.state.view import ServerCapabilities

STORAGE_DIR = "/mnt/data"
GUARDRAILS_DIR = "/etc/ragengine/guardrails"
POLICY_FILE = "guardrails.yaml"
TERMINATION_GRACE_S = 60
COMMAND = ["python", "-m", "kaito.rag"]
EMBEDDING_GIB = 2.0  # a start may download an embedding model of that size


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What the pod runs. `claim`: a PersistentVolumeClaim, empty for none; `secrets`: variable → (Secret, key)."""

    image: str
    variables: Mapping[str, str]
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    claim: str = ""
    mount_path: str = STORAGE_DIR
    policy: str = ""  # the ConfigMap of the guardrails
    model: PodPart = field(default_factory=PodPart)  # the embedding model, where it comes in an image
    gpus: int = 0
    pins: Mapping[str, str] = field(default_factory=dict)


def rag_deployment(
    root: ObjectRef, owner: Json, retrieval: Retrieval, *, cloud_provider: str, capabilities: ServerCapabilities
) -> Json:
    """One replica that is stopped before the next one starts: an index has one writer."""
    labels = pod_labels(root)
    return child_head(DEPLOYMENT, root, owner, {LABEL_RAGENGINE: root.name}) | {
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "selector": {"matchLabels": {LABEL_RAGENGINE: root.name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(root, retrieval, cloud_provider, capabilities),
            },
        },
    }


def pod_labels(root: ObjectRef) -> dict[str, str]:
    """The root's, and an empty one of Workspaces: pods are watched by the presence of that label, all in one stream."""
    return {LABEL_RAGENGINE: root.name, LABEL_WORKSPACE: ""}


def rag_service(root: ObjectRef, owner: Json, *, is_load_balancer: bool) -> Json:
    """The Service of the RAGEngine's name: port 80 reaches the pod once it is ready.

    Upstream's publishes addresses that are not ready: its clients then meet refused connections.
    """
    return child_head(SERVICE, root, owner, {LABEL_RAGENGINE: root.name}) | {
        "spec": {
            "type": "LoadBalancer" if is_load_balancer else "ClusterIP",
            "selector": {LABEL_RAGENGINE: root.name},
            "ports": [{"name": "http", "protocol": "TCP", "port": HTTP_PORT, "targetPort": SERVER_PORT}],
        },
    }


def _pod(root: ObjectRef, retrieval: Retrieval, cloud_provider: str, capabilities: ServerCapabilities) -> Json:
    part = together([_storage(retrieval), _policy(retrieval), retrieval.model, scratch()])
    variables = [{"name": name, "value": value} for name, value in retrieval.variables.items()]
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in retrieval.secrets.items()
    ]
    pod: Json = {
        "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
        "securityContext": POD_SECURITY,
        "tolerations": tolerations(cloud_provider),
        "containers": [
            {
                "name": root.name,
                "image": retrieval.image,
                "command": COMMAND,
                "env": [*variables, *secrets, *part.env],
                "ports": [{"name": "http", "containerPort": SERVER_PORT, "protocol": "TCP"}],
                "resources": server_resources("nvidia.com/gpu", retrieval.gpus, {}),
                "volumeMounts": list(part.mounts),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": CONTAINER_SECURITY,
                **server_probes(EMBEDDING_GIB, replicas=1, capabilities=capabilities),
            }
        ],
        "volumes": list(part.volumes),
    }
    if part.init_containers:
        pod["initContainers"] = list(part.init_containers)
    if part.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in part.pull_secrets]
    if affinity := node_affinity(retrieval.pins):
        pod["affinity"] = affinity
    return pod


def _storage(retrieval: Retrieval) -> PodPart:
    source = {"persistentVolumeClaim": {"claimName": retrieval.claim}} if retrieval.claim else {"emptyDir": {}}
    name = "vector-db-storage"
    return PodPart(({"name": name, **source},), ({"name": name, "mountPath": retrieval.mount_path},))


def _policy(retrieval: Retrieval) -> PodPart:
    if not retrieval.policy:
        return PodPart()
    items = [{"key": POLICY_FILE, "path": POLICY_FILE}]
    volume = {"name": "guardrails-policy", "configMap": {"name": retrieval.policy, "items": items}}
    return PodPart((volume,), ({"name": "guardrails-policy", "mountPath": GUARDRAILS_DIR, "readOnly": True},))
