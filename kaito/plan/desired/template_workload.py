"""The StatefulSet of a Workspace with its own pod template: theirs, with our labels, placement and tolerations."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import INHERITED_LABELS, LABEL_WORKSPACE, headless_service_name
from kaito.api.workloads import STATEFUL_SET
from kaito.plan.ownership import child_head
from kaito.plan.placement import node_affinity, tolerations


def template_stateful_set(
    root: ObjectRef,
    owner: Json,
    root_labels: Mapping[str, str],
    template: Json,
    *,
    replicas: int,
    pins: Mapping[str, str],
    cloud_provider: str,
) -> Json:
    """The StatefulSet of the Workspace's name. Containers and images are the user's; affinity is ours."""
    labels = {LABEL_WORKSPACE: root.name} | {key: root_labels[key] for key in INHERITED_LABELS if key in root_labels}
    pod_template = _pod_template(labels, template, pins, cloud_provider)
    return child_head(STATEFUL_SET, root, owner, labels) | {
        "spec": {
            "replicas": replicas,
            "serviceName": headless_service_name(root.name),
            "podManagementPolicy": "Parallel",  # one pod that fails must not keep the others from being corrected
            "selector": {"matchLabels": labels},
            "template": pod_template,
        },
    }


def requested_devices(template: Json, resource: str) -> int:
    """How many of the resource a pod of the template requests: its containers' sum, a limit standing for a request."""
    containers = (template.get("spec") or {}).get("containers") or []
    return sum(_devices(container.get("resources") or {}, resource) for container in containers)


def _devices(resources: Json, resource: str) -> int:
    for kind in ("requests", "limits"):
        text = str((resources.get(kind) or {}).get(resource, ""))
        if text.isdecimal():
            return int(text)
    return 0


def _pod_template(labels: Json, template: Json, pins: Mapping[str, str], cloud_provider: str) -> Json:
    pod_template = deepcopy(template)
    metadata = {key: value for key, value in (pod_template.get("metadata") or {}).items() if key != "creationTimestamp"}
    pod_template["metadata"] = metadata | {"labels": (metadata.get("labels") or {}) | labels}
    spec = pod_template.setdefault("spec", {})
    mine = [entry for entry in tolerations(cloud_provider) if entry not in (spec.get("tolerations") or [])]
    spec["tolerations"] = [*(spec.get("tolerations") or []), *mine]
    if affinity := node_affinity(pins):
        spec["affinity"] = affinity
    for container in (*(spec.get("containers") or []), *(spec.get("initContainers") or [])):
        for port in container.get("ports") or []:
            port.setdefault("protocol", "TCP")  # Kubernetes 1.20 refuses to apply a port without it
    return pod_template
