"""The printer columns of built-in kinds: what `kubectl get` shows of each. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from kaito.api.meta import Json
from kaito.clock import parse_rfc3339
from kaito.local.http.durations import human, since
from kaito.local.http.pod_columns import pod_cells

Cells: TypeAlias = Callable[[Json, datetime], list[Any]]
NONE = "<none>"


class Column(NamedTuple):
    """`priority` above 0: only with `-o wide`."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""

    def definition(self) -> Json:
        return {"name": self.name, "type": self.type, "format": self.format, "description": "",
                "priority": self.priority}  # fmt: skip


def _columns(text: str) -> tuple[Column, ...]:
    """`Ready`, `Restarts#` a number, `Node+` only with -o wide; the name comes first by itself unless `-Name`."""
    names = [part.strip() for part in text.split(",")]
    found = [] if names[0].startswith("-") else [Column("Name", format="name")]
    for name in names:
        priority, type_ = int("+" in name), "integer" if "#" in name else "string"
        found.append(Column(name.strip("-#+"), type_, priority))
    return tuple(found)


def _spec(obj: Json) -> Json:
    return obj.get("spec") or {}


def _status(obj: Json) -> Json:
    return obj.get("status") or {}


def _age(obj: Json, now: datetime) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def _selector(selector: Json | None) -> str:
    """A label selector as text: `a=b,c in (d,e)`."""
    if not selector:
        return NONE
    is_plain = "matchLabels" not in selector and "matchExpressions" not in selector
    labels = selector if is_plain else selector.get("matchLabels") or {}
    parts = [f"{key}={value}" for key, value in sorted(labels.items())]
    for item in () if is_plain else selector.get("matchExpressions") or ():
        key, values = item.get("key", ""), ",".join(item.get("values") or ())
        operator = item.get("operator", "")
        words = {"Exists": key, "DoesNotExist": f"!{key}", "In": f"{key} in ({values})"}
        parts.append(words.get(operator, f"{key} notin ({values})"))
    return ",".join(parts) or NONE


def _containers(obj: Json, field: str) -> str:
    containers = ((_spec(obj).get("template") or {}).get("spec") or {}).get("containers") or ()
    return ",".join(str(item.get(field, "")) for item in containers)


def _node(obj: Json, now: datetime) -> list[Any]:
    ready: Json = next((item for item in _status(obj).get("conditions") or () if item.get("type") == "Ready"), {})
    words = ["Ready" if ready.get("status") == "True" else "NotReady" if ready else "Unknown"]
    if _spec(obj).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    facts = _status(obj).get("nodeInfo") or {}
    addresses = {item.get("type"): item.get("address") for item in _status(obj).get("addresses") or ()}
    return [",".join(words), ",".join(roles) or NONE, _age(obj, now), facts.get("kubeletVersion", ""),
            addresses.get("InternalIP", NONE), addresses.get("ExternalIP", NONE), facts.get("osImage", "<unknown>"),
            facts.get("kernelVersion", "<unknown>"), facts.get("containerRuntimeVersion", "<unknown>")]  # fmt: skip


def _service(obj: Json, now: datetime) -> list[Any]:
    spec = _spec(obj)
    ports = ",".join(
        f"{port.get('port')}" + (f":{port['nodePort']}" if port.get("nodePort") else "")
        + f"/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or ()
    )  # fmt: skip
    external = ",".join(spec.get("externalIPs") or ()) or (spec.get("externalName") or "")
    if not external:
        external = "<pending>" if spec.get("type") == "LoadBalancer" else NONE
    return [spec.get("type", ""), spec.get("clusterIP") or NONE, external, ports or NONE, _age(obj, now),
            _selector(spec.get("selector"))]  # fmt: skip


def _event(obj: Json, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or {}
    series = obj.get("series") or {}
    count = series.get("count") or obj.get("count") or 1
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    source = obj.get("source") or {}
    return [since(last, now), obj.get("type", ""), obj.get("reason", ""),
            f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}", about.get("fieldPath", ""),
            source.get("component") or obj.get("reportingComponent", ""), str(obj.get("message", "")).strip(),
            since(first, now), count, obj["metadata"]["name"]]  # fmt: skip


def _job(obj: Json, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    done = {item.get("type") for item in status.get("conditions") or () if item.get("status") == "True"}
    state = next((name for name in ("Complete", "Failed", "Suspended") if name in done), "Running")
    ran = ""
    if started := status.get("startTime"):
        ends = status.get("completionTime")
        ran = human(((parse_rfc3339(ends) if ends else now) - parse_rfc3339(started)).total_seconds())
    return [state, f"{status.get('succeeded') or 0}/{spec.get('completions') or 1}", ran, _age(obj, now),
            _containers(obj, "name"), _containers(obj, "image"), _selector(spec.get("selector"))]  # fmt: skip


def _endpoints(obj: Json, now: datetime) -> list[Any]:
    found = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [shown or NONE, _age(obj, now)]


def _claim(obj: Json, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    modes = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    is_bound = bool(spec.get("volumeName"))
    return [phase, spec.get("volumeName", ""), (status.get("capacity") or {}).get("storage", "") if is_bound else "",
            ",".join(modes.get(mode, mode) for mode in status.get("accessModes") or ()) if is_bound else "",
            spec.get("storageClassName", ""), _age(obj, now), spec.get("volumeMode", "")]  # fmt: skip


def _revision(obj: Json, now: datetime) -> list[Any]:
    owner: Json = next((item for item in obj["metadata"].get("ownerReferences") or () if item.get("controller")), {})
    shown = f"{owner['kind'].lower()}.{owner['apiVersion'].partition('/')[0]}/{owner['name']}" if owner else NONE
    return [shown, obj.get("revision", 0), _age(obj, now)]


def _workload(obj: Json, *, has_selector: bool) -> list[Any]:
    selector = [_selector(_spec(obj).get("selector"))] if has_selector else []
    return [_containers(obj, "name"), _containers(obj, "image"), *selector]


def _counts(obj: Json, *fields: str) -> list[Any]:
    return [_status(obj).get(field) or 0 for field in fields]


def _size(value: Json | None) -> int:
    return len(value or {})


BUILT_IN: dict[str, tuple[tuple[Column, ...], Cells]] = {
    "Pod": (_columns("Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+"), pod_cells),
    "Node": (
        _columns("Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, "
                 "Container-Runtime+"),
        _node,
    ),
    "Namespace": (_columns("Status, Age"), lambda obj, now: [_status(obj).get("phase", ""), _age(obj, now)]),
    "Service": (_columns("Type, Cluster-IP, External-IP, Port(s), Age, Selector+"), _service),
    "Endpoints": (_columns("Endpoints, Age"), _endpoints),
    "Event": (
        _columns("-Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count#+, Name+"),
        _event,
    ),
    "ConfigMap": (
        _columns("Data#, Age"),
        lambda obj, now: [_size(obj.get("data")) + _size(obj.get("binaryData")), _age(obj, now)],
    ),
    "Secret": (
        _columns("Type, Data#, Age"),
        lambda obj, now: [obj.get("type", ""), _size(obj.get("data")), _age(obj, now)],
    ),
    "ServiceAccount": (_columns("Secrets#, Age"), lambda obj, now: [_size(obj.get("secrets")), _age(obj, now)]),
    "PersistentVolumeClaim": (
        _columns("Status, Volume, Capacity, Access Modes, StorageClass, Age, VolumeMode+"), _claim,
    ),
    "StatefulSet": (
        _columns("Ready, Age, Containers+, Images+"),
        lambda obj, now: [f"{_counts(obj, 'readyReplicas')[0]}/{_spec(obj).get('replicas') or 0}", _age(obj, now),
                          *_workload(obj, has_selector=False)],
    ),
    "Deployment": (
        _columns("Ready, Up-to-date#, Available#, Age, Containers+, Images+, Selector+"),
        lambda obj, now: [f"{_counts(obj, 'readyReplicas')[0]}/{_spec(obj).get('replicas') or 0}",
                          *_counts(obj, "updatedReplicas", "availableReplicas"), _age(obj, now),
                          *_workload(obj, has_selector=True)],
    ),
    "ReplicaSet": (
        _columns("Desired#, Current#, Ready#, Age, Containers+, Images+, Selector+"),
        lambda obj, now: [_spec(obj).get("replicas") or 0, *_counts(obj, "replicas", "readyReplicas"), _age(obj, now),
                          *_workload(obj, has_selector=True)],
    ),
    "DaemonSet": (
        _columns("Desired#, Current#, Ready#, Up-to-date#, Available#, Node Selector, Age, Containers+, Images+, "
                 "Selector+"),
        lambda obj, now: [
            *_counts(obj, "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
                     "numberAvailable"),
            _selector(((_spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector")), _age(obj, now),
            *_workload(obj, has_selector=True)],
    ),
    "ControllerRevision": (_columns("Controller, Revision#, Age"), _revision),
    "Job": (_columns("Status, Completions, Duration, Age, Containers+, Images+, Selector+"), _job),
    "Lease": (
        _columns("Holder, Age"), lambda obj, now: [_spec(obj).get("holderIdentity") or "", _age(obj, now)],
    ),
    "StorageClass": (
        _columns("Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age"),
        lambda obj, now: [obj.get("provisioner", ""), obj.get("reclaimPolicy", ""), obj.get("volumeBindingMode", ""),
                          bool(obj.get("allowVolumeExpansion")), _age(obj, now)],
    ),
    "CustomResourceDefinition": (
        _columns("Created At"), lambda obj, now: [obj["metadata"].get("creationTimestamp", "")],
    ),
    "PodDisruptionBudget": (
        _columns("Min Available, Max Unavailable, Allowed Disruptions#, Age"),
        lambda obj, now: [str(_spec(obj).get("minAvailable", "N/A")), str(_spec(obj).get("maxUnavailable", "N/A")),
                          *_counts(obj, "disruptionsAllowed"), _age(obj, now)],
    ),
}  # fmt: skip
for _kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
    BUILT_IN[_kind] = (
        _columns("Webhooks#, Age"), lambda obj, now: [len(obj.get("webhooks") or ()), _age(obj, now)],
    )  # fmt: skip
OTHER: tuple[tuple[Column, ...], Cells] = (_columns("Age"), lambda obj, now: [_age(obj, now)])
