"""Validation of metadata and of built-in kinds, as far as users meet it: causes in the real server's words."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from kaito.api.meta import Json
from kaito.api.quantity import parse_quantity
from kaito.local.apiserver.errors import invalid_value, required, shown

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
LABEL_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?\Z")
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")
SUBDOMAIN_WHY = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_WHY = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*"
    "[a-z0-9])?')"
)
LABEL_1035_WHY = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_WHY = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
QUALIFIED_WHY = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
ANNOTATION_BYTES_MAX = 256 << 10
STATEFUL_SET_MUTABLE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                        "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip
WORKLOADS = ("StatefulSet", "Deployment", "ReplicaSet", "DaemonSet")


def validate_metadata(obj: Json, emulate: tuple[int, int]) -> list[Json]:
    """Names, labels, annotations, owner references and finalizers."""
    metadata, kind = obj["metadata"], obj["kind"]
    causes = _name(str(metadata.get("name", "")), kind, emulate)
    for key, value in (metadata.get("labels") or {}).items():
        if not isinstance(value, str) or len(value) > 63 or not LABEL_VALUE.match(value):
            causes.append(invalid_value("metadata.labels", value, LABEL_VALUE_WHY))
        causes += _qualified_name("metadata.labels", key)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        causes += _qualified_name("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items()) > ANNOTATION_BYTES_MAX:
        why = f"Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes"
        causes.append({"reason": "FieldValueTooLong", "message": why, "field": "metadata.annotations"})
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(invalid_value(f"metadata.ownerReferences[{index}].{field}", "", "must not be empty"))
    controllers = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    if len(controllers) > 1:
        why = "Only one reference can have Controller set to true"
        causes.append(invalid_value("metadata.ownerReferences", "", why))
    for name in metadata.get("finalizers") or ():
        is_core = obj["apiVersion"] == "v1"  # only these kinds insist
        if is_core and "/" not in name and name not in ("foregroundDeletion", "orphan", "kubernetes"):
            why = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid_value("metadata.finalizers", name, why))
    return causes


def _qualified_name(field: str, key: str) -> list[Json]:
    """What is wrong with the key of a label or an annotation: `name` or `prefix/name`."""
    prefix, slash, name = key.rpartition("/")
    causes = []
    if len(name) > 63:
        causes.append(invalid_value(field, key, "name part must be no more than 63 characters"))
    if not QUALIFIED.match(name):
        causes.append(
            invalid_value(field, key, f"name part {QUALIFIED_WHY}" if name else "name part must be non-empty")
        )
    if slash and (len(prefix) > 253 or not SUBDOMAIN.match(prefix)):
        causes.append(invalid_value(field, key, f"prefix part {SUBDOMAIN_WHY}"))
    return causes


def _name(name: str, kind: str, emulate: tuple[int, int]) -> list[Json]:
    pattern, why, most = SUBDOMAIN, SUBDOMAIN_WHY, 253
    if kind == "Namespace" or (kind == "Service" and emulate >= (1, 36)):
        pattern, why, most = LABEL, LABEL_WHY, 63
    elif kind == "Service":
        pattern, why, most = LABEL_1035, LABEL_1035_WHY, 63
    causes = []
    if len(name) > most:
        causes.append(invalid_value("metadata.name", name, f"must be no more than {most} characters"))
    if not pattern.match(name):
        causes.append(invalid_value("metadata.name", name, why))
    return causes


def validate_built_in(obj: Json, old: Json | None, *, has_loopback_endpoints: bool) -> list[Json]:
    """The rules of the object's own kind. `old`: what it replaces."""
    kind, spec = obj["kind"], obj.get("spec") or {}
    causes: list[Json] = []
    if kind in WORKLOADS:
        causes += _workload(obj, old)
    if kind == "Pod":
        causes += _pod_spec(spec, "spec") + (_pod_change(spec, old) if old else [])
        hostname = spec.get("hostname") or ""
        if len(hostname) > 63:
            causes.append(invalid_value("spec.hostname", hostname, "must be no more than 63 characters"))
    if kind == "Job":
        causes += _template(spec)
        policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
        if policy == "Always":
            message = f'Unsupported value: {shown(policy)}: supported values: "OnFailure", "Never"'
            field = "spec.template.spec.restartPolicy"
            causes.append({"reason": "FieldValueNotSupported", "message": message, "field": field})
        if old and spec.get("selector") != (old.get("spec") or {}).get("selector"):
            causes.append(invalid_value("spec.selector", "", "field is immutable"))
    if kind == "Service":
        causes += _service(spec, old)
    if kind == "Endpoints":
        causes += _endpoints(obj, has_loopback_endpoints)
    if kind in ("ConfigMap", "Secret") and old and old.get("immutable") and old.get("data") != obj.get("data"):
        causes.append(_forbidden("data", "field is immutable when `immutable` is set"))
    if kind == "ControllerRevision" and old and old.get("data") != obj.get("data"):
        causes.append(invalid_value("data", "", "field is immutable"))
    return causes


def _forbidden(field: str, why: str) -> Json:
    return {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": field}


def _workload(obj: Json, old: Json | None) -> list[Json]:
    spec = obj.get("spec") or {}
    causes = _template(spec)
    selector = spec.get("selector")
    if not selector:
        causes.append(required("spec.selector"))
    else:
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        wanted = selector.get("matchLabels") or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            why = "`selector` does not match template `labels`"
            causes.append(invalid_value("spec.template.metadata.labels", labels, why))
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        causes.append(invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
    if old is not None:
        before = old.get("spec") or {}
        if obj["kind"] == "StatefulSet":
            fixed = [key for key in {**before, **spec} if key not in STATEFUL_SET_MUTABLE]
            if any(before.get(key) != spec.get(key) for key in fixed):
                names = [f"'{name}'" for name in STATEFUL_SET_MUTABLE]
                why = f"updates to statefulset spec for fields other than {', '.join(names[:-1])} and {names[-1]}"
                causes.append(_forbidden("spec", f"{why} are forbidden"))
        elif before.get("selector") != selector:
            causes.append(invalid_value("spec.selector", selector, "field is immutable"))
    return causes


def _template(spec: Json) -> list[Json]:
    template = spec.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return [required("spec.template.spec.containers")]
    return _pod_spec(template["spec"], "spec.template.spec")


def _pod_spec(spec: Json, path: str) -> list[Json]:
    causes: list[Json] = []
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    seen: set[Any] = set()
    for part in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(part) or ()):
            causes += _container(container, f"{path}.{part}[{index}]", seen, volumes, is_pod=path == "spec")
    return causes


def _container(container: Json, at: str, seen: set[Any], volumes: set[Any], *, is_pod: bool) -> list[Json]:
    causes: list[Json] = []
    name = container.get("name")
    if not name:
        causes.append(required(f"{at}.name"))
    elif not LABEL.match(name) or len(name) > 63:
        causes.append(invalid_value(f"{at}.name", name, LABEL_WHY))
    elif name in seen:
        message = f"Duplicate value: {shown(name)}"
        causes.append({"reason": "FieldValueDuplicate", "message": message, "field": f"{at}.name"})
    seen.add(name)
    if not container.get("image"):
        causes.append(required(f"{at}.image"))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes and is_pod:
            message = f"Not found: {shown(mount.get('name', ''))}"
            field = f"{at}.volumeMounts[{index}].name"
            causes.append({"reason": "FieldValueNotFound", "message": message, "field": field})
    for part in ("limits", "requests"):
        for resource, amount in ((container.get("resources") or {}).get(part) or {}).items():
            try:
                parse_quantity(amount)
            except ValueError as error:
                causes.append(invalid_value(f"{at}.resources.{part}[{resource}]", amount, str(error)))
    return causes


def _pod_change(spec: Json, old: Json) -> list[Json]:
    def fixed(pod: Json) -> Json:
        hidden = ("tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates")
        kept = {key: value for key, value in pod.items() if key not in hidden}
        for part in ("initContainers", "containers"):
            kept[part] = [{key: value for key, value in item.items() if key not in ("image", "resources")}
                          for item in kept.get(part) or ()]  # fmt: skip
        return kept

    if fixed(spec) == fixed(old.get("spec") or {}):
        return []
    fields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    return [_forbidden("spec", f"pod updates may not change fields other than {fields} (only additions to existing "
                               "tolerations)")]  # fmt: skip


def _service(spec: Json, old: Json | None) -> list[Json]:
    causes: list[Json] = []
    ports = spec.get("ports") or []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    for index, port in enumerate(ports):
        number = port.get("port")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            causes.append(invalid_value(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive"))
        if len(ports) > 1 and not port.get("name"):
            causes.append(required(f"spec.ports[{index}].name"))
    before = (old or {}).get("spec") or {}
    if before.get("clusterIP") and spec.get("clusterIP") != before["clusterIP"]:
        value = [spec["clusterIP"]] if spec.get("clusterIP") else []
        causes.append(invalid_value("spec.clusterIPs[0]", value, "may not change once set"))
    return causes


def _endpoints(obj: Json, has_loopback: bool) -> list[Json]:
    causes = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        for part in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(part) or ()):
                field = f"subsets[{index}].{part}[{number}].ip"
                ip = str(address.get("ip", ""))
                try:
                    found = ip_address(ip)
                except ValueError:
                    causes.append(invalid_value(field, ip, "must be a valid IP address"))
                    continue
                if found.is_loopback and not has_loopback:
                    why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
                    causes.append(invalid_value(field, ip, why))
                elif found.is_link_local:
                    why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
                    causes.append(invalid_value(field, ip, why))
    return causes
