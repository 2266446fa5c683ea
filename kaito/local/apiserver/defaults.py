"""Defaults of built-in kinds, as far as clients notice, and quantities in canonical form. All in place."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from kaito.api.meta import Json
from kaito.api.quantity import canonical_quantity

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
# Fields that 1.20 does not know: dropped on POST, refused on apply.
UNKNOWN_TO_1_20: dict[str, tuple[tuple[str, ...], ...]] = {
    "StatefulSet": (
        ("spec", "persistentVolumeClaimRetentionPolicy"),
        ("spec", "minReadySeconds"),
        ("spec", "ordinals"),
    ),
    "Job": (("spec", "podFailurePolicy"), ("spec", "suspend"), ("spec", "completionMode")),
}


def apply_defaults(obj: Json, emulate: tuple[int, int]) -> None:
    """What the server fills in on create and on update."""
    if "metadata" in obj and (found := BY_KIND.get(obj.get("kind", ""))):
        found(obj, emulate)


def unknown_fields(obj: Json, emulate: tuple[int, int]) -> list[tuple[str, ...]]:
    """Paths of fields that the emulated server does not know; list indices are texts."""
    if emulate >= (1, 21):
        return []
    found = [path for path in UNKNOWN_TO_1_20.get(obj.get("kind", ""), ()) if _has(obj, path)]
    for base, spec in _pod_specs(obj):
        for name in ("initContainers", "containers"):
            for index, container in enumerate(spec.get(name) or ()):
                at = (*base, name, str(index))
                if "restartPolicy" in container:
                    found.append((*at, "restartPolicy"))
                for probe in PROBES:
                    if "terminationGracePeriodSeconds" in (container.get(probe) or {}):
                        found.append((*at, probe, "terminationGracePeriodSeconds"))
    return found


def drop(obj: Any, path: tuple[str, ...]) -> None:
    """Removes the field at this path."""
    for part in path[:-1]:
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    del obj[path[-1]]


def _has(obj: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(obj, dict) or part not in obj:
            return False
        obj = obj[part]
    return True


def _pod_specs(obj: Json) -> Iterable[tuple[tuple[str, ...], Json]]:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if obj.get("kind") == "Pod":
        yield ("spec",), spec
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        yield ("spec", "template", "spec"), template["spec"]


def _set(target: Json, **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def _pod_spec(spec: Json) -> None:
    _set(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst", securityContext={})
    _set(spec, schedulerName="default-scheduler")
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Json) -> None:
    image = str(container.get("image") or "")
    latest = ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")
    _set(container, imagePullPolicy="Always" if latest else "IfNotPresent", resources={})
    _set(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    resources = container["resources"]
    for part in ("limits", "requests"):
        if part in resources:
            _quantities(resources[part])
    for name, amount in (resources.get("limits") or {}).items():
        resources["requests"] = resources.get("requests") or {}
        resources["requests"].setdefault(name, amount)
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(reference, apiVersion="v1")
    for name in PROBES:
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if probe.get("httpGet"):
                _set(probe["httpGet"], path="/", scheme="HTTP")


def _volume(volume: Json) -> None:
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if volume.get(source):
            _set(volume[source], defaultMode=420)
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    if limit := (volume.get("emptyDir") or {}).get("sizeLimit"):
        volume["emptyDir"]["sizeLimit"] = _canonical(limit)


def _quantities(amounts: Any) -> None:
    if isinstance(amounts, dict):
        for key, value in amounts.items():
            amounts[key] = _canonical(value)


def _canonical(value: Any) -> Any:
    """Canonical where it is a quantity; validation tells about what is not."""
    try:
        return canonical_quantity(value) if isinstance(value, str | int) else value
    except ValueError:
        return value


def _template(spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        if isinstance(template.get("spec"), dict):
            _pod_spec(template["spec"])


def _pod(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _pod_spec(spec)
        _set(spec, serviceAccountName="default", enableServiceLinks=True)


def _stateful_set(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    _set(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10, updateStrategy={})
    strategy = spec["updateStrategy"]
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], partition=0)
    if emulate >= (1, 27):
        _set(spec, persistentVolumeClaimRetentionPolicy={})
        _set(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        _claim(claim, emulate)
    _template(spec)


def _deployment(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
        _set(spec["strategy"], type="RollingUpdate")
        if spec["strategy"]["type"] == "RollingUpdate":
            _set(spec["strategy"], rollingUpdate={})
            _set(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
        _template(spec)


def _replica_set(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _set(spec, replicas=1)
        _template(spec)


def _job(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(spec, parallelism=1, backoffLimit=6)
    if emulate >= (1, 24):
        _set(spec, completionMode="NonIndexed", suspend=False)
    uid = obj["metadata"].get("uid")
    if uid and not spec.get("manualSelector") and not spec.get("selector"):
        spec["selector"] = {"matchLabels": {"controller-uid": uid}}
        labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
        labels |= {"controller-uid": uid, "job-name": obj["metadata"].get("name", "")}
    _template(spec)


def _service(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if emulate >= (1, 22) and spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        _set(port, targetPort=port.get("port"))


def _secret(obj: Json, emulate: tuple[int, int]) -> None:
    _set(obj, type="Opaque")
    given = obj.pop("stringData", None)
    for key, text in (given or {}).items():
        obj["data"] = obj.get("data") or {}
        obj["data"][key] = base64.b64encode(str(text).encode()).decode()


def _namespace(obj: Json, emulate: tuple[int, int]) -> None:
    obj["spec"] = obj.get("spec") or {"finalizers": ["kubernetes"]}
    _set(obj.setdefault("status", {}), phase="Active")
    if emulate >= (1, 21) and obj["metadata"].get("name"):
        obj["metadata"]["labels"] = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"]["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _claim(obj: Json, emulate: tuple[int, int]) -> None:
    spec = obj.get("spec") or {}
    _quantities((spec.get("resources") or {}).get("requests"))
    _set(spec, volumeMode="Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _node(obj: Json, emulate: tuple[int, int]) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    _quantities(status.get("capacity"))
    _quantities(status.get("allocatable"))


def _endpoints(obj: Json, emulate: tuple[int, int]) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            _set(port, protocol="TCP")


def _storage_class(obj: Json, emulate: tuple[int, int]) -> None:
    _set(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


BY_KIND: dict[str, Callable[[Json, tuple[int, int]], None]] = {
    "Pod": _pod, "StatefulSet": _stateful_set, "Deployment": _deployment, "ReplicaSet": _replica_set, "Job": _job,
    "Service": _service, "Secret": _secret, "Namespace": _namespace, "PersistentVolumeClaim": _claim, "Node": _node,
    "Endpoints": _endpoints, "StorageClass": _storage_class,
}  # fmt: skip
BY_KIND["DaemonSet"] = lambda obj, _: _template(obj.get("spec") or {})
