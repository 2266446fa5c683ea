"""The scale subresource: autoscaling/v1 Scale of workloads and of custom resources that declare one."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.registry import Resource

BUILT_IN = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def as_scale(resource: Resource, obj: Json) -> Json:
    """The object's Scale."""
    paths = resource.scale or BUILT_IN
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: obj["metadata"][name] for name in names if name in obj["metadata"]}
    status: Json = {"replicas": _at(obj, paths.get("statusReplicasPath", "")) or 0}
    if resource.scale is None:
        labels = ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        status["selector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    elif selector := _at(obj, paths.get("labelSelectorPath", "")):
        status["selector"] = selector
    replicas = _at(obj, paths["specReplicasPath"])
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
            "spec": {"replicas": replicas or 0}, "status": status}  # fmt: skip


def set_replicas(resource: Resource, obj: Json, replicas: Any) -> Json:
    """A copy of the object with that many replicas."""
    new: Json = copied(obj)
    *parents, last = (resource.scale or BUILT_IN)["specReplicasPath"].strip(".").split(".")
    node = new
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = replicas
    return new


def _at(obj: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj
