"""Strategy: what happens to an object between the wire and the store: pruned, defaulted, checked, kept apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver import defaults, errors, schema
from kaito.local.apiserver.collector import CRD_KIND, NAMESPACE_KIND
from kaito.local.apiserver.custom import crd_causes, crd_defaults
from kaito.local.apiserver.json_values import check_depth, copied
from kaito.local.apiserver.registry import Resource
from kaito.local.apiserver.store import Kind, Store
from kaito.local.apiserver.validation import validate_built_in, validate_metadata

POD: Kind = ("", "pods")
SERVICE: Kind = ("", "services")
SERVER_OWNED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
                "generation", "resourceVersion", "selfLink")  # fmt: skip
GENERATED_NAME_MAX = 58  # + 5 characters
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as the real server: no vowels, no look-alikes
# Built-in kinds with a generation; custom ones always have one.
GENERATIONS = frozenset(
    ("StatefulSet", "Deployment", "ReplicaSet", "DaemonSet", "Job", "CustomResourceDefinition", "PodDisruptionBudget",
     "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
)  # fmt: skip
STATUS_KEPT = frozenset(("Node", "Namespace", "PersistentVolumeClaim"))  # on create


class Strategy:
    def __init__(
        self,
        store: Store,
        emulate: tuple[int, int],
        new_uid: Callable[[], str],
        schemas: Callable[[Resource], Json | None],
        *,
        has_loopback_endpoints: bool,
    ) -> None:
        self._has_loopback_endpoints = has_loopback_endpoints
        self._store, self._emulate, self._new_uid, self._schemas = store, emulate, new_uid, schemas

    def name(self, metadata: Json) -> None:
        """Fills in a generated name, in place."""
        if not metadata.get("name") and metadata.get("generateName"):
            digits = int.from_bytes(self._new_uid().encode(), "big")
            suffix = ""
            for _ in range(5):
                digits, rest = divmod(digits, len(ALPHABET))
                suffix += ALPHABET[rest]
            metadata["name"] = metadata["generateName"][:GENERATED_NAME_MAX] + suffix

    def decode(self, resource: Resource, obj: Json, field_validation: str, *, is_applied: bool = False) -> list[str]:
        """Drops unknown fields and fills in defaults, in place; returns warnings. Raises 400 when strict."""
        check_depth(obj)
        _check_metadata(resource, obj["metadata"])
        removed: list[str] = []
        if resource.schema is not None:
            schema.drop_nulls(obj, resource.schema)
            removed = schema.prune(obj, resource.schema)
            schema.apply_defaults(obj, resource.schema)
        else:
            if (types := self._schemas(resource)) is not None:
                removed = schema.prune(obj, types)
                _check_types(resource, obj, types)
            unknown = defaults.unknown_fields(obj, self._emulate)
            for path in sorted(unknown, key=len, reverse=True):
                defaults.drop(obj, path)
            defaults.apply_defaults(obj, self._emulate)
        if resource.key == CRD_KIND:
            crd_defaults(obj)
        if not removed or self._emulate < (1, 25) or field_validation == "Ignore":
            return []
        lines = [f'unknown field "{path}"' for path in removed]
        if field_validation == "Strict":
            version = resource.version
            raise errors.bad_request(
                f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}: '
                "strict decoding error: " + ", ".join(lines)
            )
        return lines

    def check_applied(self, resource: Resource, obj: Json) -> None:
        """1.20 refuses an applied body that its schema does not know. Raises StatusError 500."""
        if resource.schema is None and self._emulate < (1, 21):
            for path in defaults.unknown_fields(obj, self._emulate):
                raise errors.internal(
                    f"failed to create typed patch object: .{'.'.join(path)}: field not declared in schema"
                )
            ports = (obj.get("spec") or {}).get("ports") or () if obj["kind"] == "Service" else ()
            for index, port in enumerate(ports):
                if "protocol" not in port:
                    raise errors.internal(
                        f"failed to create typed patch object: .spec.ports: element {index}: associative list with "
                        'keys has an element that omits key field "protocol" (and doesn\'t have default value)'
                    )

    def prepare_create(self, resource: Resource, obj: Json) -> None:
        """What a new object starts with, in place."""
        metadata = obj["metadata"]
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(field, None)
        metadata.pop("generation", None)
        if resource.is_custom or resource.kind in GENERATIONS:
            metadata["generation"] = 1
        if "status" in resource.subresources and resource.kind not in STATUS_KEPT:
            obj.pop("status", None)
            if resource.kind == "Pod":
                obj["status"] = {"phase": "Pending", "qosClass": _quality(obj.get("spec") or {})}
            elif resource.kind == "Service":
                obj["status"] = {"loadBalancer": {}}
            elif resource.kind in ("StatefulSet", "ReplicaSet"):
                obj["status"] = {"replicas": 0}
            elif not resource.is_custom:
                obj["status"] = {}
        if resource.key == SERVICE:
            self._allocate(obj["spec"])
        defaults.apply_defaults(obj, self._emulate)  # those that need the uid

    def _allocate(self, spec: Json) -> None:
        if spec.get("type") == "ExternalName":
            return
        services = self._store.objects.get(SERVICE, {}).values()
        if not spec.get("clusterIP"):
            taken = {service["spec"].get("clusterIP") for service in services}
            numbers = (f"10.96.{number >> 8}.{number & 255}" for number in range(2, 1 << 16))
            spec["clusterIP"] = next(address for address in numbers if address not in taken)
        if self._emulate >= (1, 20):
            spec["clusterIPs"] = [spec["clusterIP"]]
        if spec["type"] in ("NodePort", "LoadBalancer"):
            used = {port.get("nodePort") for service in services for port in service["spec"].get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = next(number for number in range(30000, 32768) if number not in used)
                used.add(port["nodePort"])

    def prepare_update(self, resource: Resource, old: Json, new: Json, subresource: str) -> Json:
        """The new state with everything put back that this request may not change."""
        if subresource == "status":
            kept = new["metadata"].get("managedFields", old["metadata"].get("managedFields"))
            status = new.get("status")
            labels = {key: new["metadata"].get(key) for key in ("labels", "annotations")}
            new = copied(old)
            if status is None:
                new.pop("status", None)
            else:
                new["status"] = status
            if kept is not None:
                new["metadata"]["managedFields"] = kept
            if resource.key in (POD, ("", "nodes")):  # their strategies let metadata through
                new["metadata"] |= {key: value for key, value in labels.items() if value is not None}
        elif "status" in resource.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = copied(old["status"])
        self._keep_metadata(old["metadata"], new["metadata"])
        if resource.key == SERVICE:
            spec = new.setdefault("spec", {})
            for field in ("clusterIP", "clusterIPs"):
                if not spec.get(field) and (old.get("spec") or {}).get(field):
                    spec[field] = old["spec"][field]
        if resource.key == NAMESPACE_KIND:
            new["spec"] = copied(old.get("spec") or {})
        if "generation" in new["metadata"] and _desired(resource, old) != _desired(resource, new):
            new["metadata"]["generation"] += 1
        return new

    def _keep_metadata(self, old: Json, new: Json) -> None:
        for field in SERVER_OWNED:
            if field in old:
                new[field] = old[field]
            else:
                new.pop(field, None)
        if "managedFields" not in new and "managedFields" in old:
            new["managedFields"] = copied(old["managedFields"])
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            if field in new and not new[field]:
                del new[field]

    def causes(self, resource: Resource, new: Json, old: Json | None) -> list[Json]:
        """Why the object is not acceptable. One that is being deleted keeps what it has."""
        found = validate_metadata(new, self._emulate)
        if old is not None and old["metadata"].get("deletionTimestamp"):
            added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
            if added:
                names = ", ".join(f'"{name}"' for name in sorted(added))
                why = "no new finalizers can be added if the object is being deleted, found new finalizers"
                message = f"Forbidden: {why} []string{{{names}}}"
                found.append({"reason": "FieldValueForbidden", "message": message, "field": "metadata.finalizers"})
        if resource.key == CRD_KIND:
            found += crd_causes(new)
        elif resource.schema is not None:
            found += schema.validate(new, resource.schema)
        else:
            found += validate_built_in(new, old, has_loopback_endpoints=self._has_loopback_endpoints)
        return found

    def grace_s(self, kind: Kind, obj: Json, asked_s: int | None) -> int:
        """Seconds that a pod gets; 0 for what nobody runs, and for all other kinds."""
        spec = obj.get("spec") or {}
        phase = (obj.get("status") or {}).get("phase")
        if kind != POD or not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        return int(asked_s if asked_s is not None else spec.get("terminationGracePeriodSeconds", 30))

    def is_over(self, kind: Kind, obj: Json) -> bool:
        """Whether nothing keeps an object that is being deleted."""
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
            return False
        if kind == NAMESPACE_KIND and (obj.get("spec") or {}).get("finalizers"):
            return False
        return not metadata.get("deletionGracePeriodSeconds")


# How metadata must look for everything behind it to work; the rest of it is the server's own.
TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True}
OWNERS: Json = {"type": "array", "items": {"type": "object"}, "nullable": True}
MANAGERS: Json = {
    "type": "array",
    "nullable": True,
    "items": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("manager", "operation", "subresource", "time")}
        | {"fieldsV1": {"type": "object", "nullable": True}},
    },
}
METADATA: Json = {
    "type": "object",
    "properties": {
        "labels": TEXTS,
        "annotations": TEXTS,
        "finalizers": {"type": "array", "items": {"type": "string"}, "nullable": True},
        "ownerReferences": OWNERS,
        "managedFields": MANAGERS,
        **{name: {"type": "string", "nullable": True} for name in
           ("name", "generateName", "namespace", "uid", "resourceVersion")},
    },
}  # fmt: skip


def _check_metadata(resource: Resource, metadata: Json) -> None:
    causes = schema.validate(metadata, METADATA, "metadata")
    if causes:
        words = "; ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        raise errors.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {words}'
        )


def _check_types(resource: Resource, obj: Json, types: Json) -> None:
    """A built-in object whose fields have other types than its Go struct is not decoded at all."""
    causes = schema.validate(obj, types)
    if causes:
        words = "; ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        raise errors.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {words}'
        )


def _desired(resource: Resource, obj: Json) -> Any:
    """What a change of counts as a new generation."""
    if not resource.is_custom:
        return obj.get("spec", obj.get("webhooks"))
    hidden = ("metadata", "apiVersion", "kind", *(("status",) if "status" in resource.subresources else ()))
    return {key: value for key, value in obj.items() if key not in hidden}


def _quality(spec: Json) -> str:
    resources = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    guaranteed = all(
        part.get("limits") == part.get("requests") and {"cpu", "memory"} <= set(part.get("limits") or {})
        for part in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"
