"""Merge keys: how lists and maps of each kind merge, for server-side apply and for strategic merge patch."""

from __future__ import annotations

from typing import Any, NamedTuple

from kaito.api.meta import Json

SET = "set"
ATOMIC = "atomic"
MAP = "map"


class Merging(NamedTuple):
    """How a list merges: as a set, by keys, or not at all. `defaults` fill absent keys of an item."""

    type: str
    keys: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()


WHOLE = Merging(ATOMIC)
NAMED = Merging(MAP, ("name",))
TCP = (("protocol", "TCP"),)

# By (parent field, field); "*" is any parent.
LISTS: dict[tuple[str, str], Merging] = {
    ("metadata", "finalizers"): Merging(SET),
    ("metadata", "ownerReferences"): Merging(MAP, ("uid",)),
    ("*", "containers"): NAMED,
    ("*", "initContainers"): NAMED,
    ("*", "ephemeralContainers"): NAMED,
    ("*", "env"): NAMED,
    ("*", "volumes"): NAMED,
    ("*", "imagePullSecrets"): Merging(MAP, ("name",), (("name", ""),)),
    ("*", "volumeMounts"): Merging(MAP, ("mountPath",)),
    ("*", "volumeDevices"): Merging(MAP, ("devicePath",)),
    ("*", "hostAliases"): Merging(MAP, ("ip",)),
    ("*", "topologySpreadConstraints"): Merging(MAP, ("topologyKey", "whenUnsatisfiable")),
    ("spec", "resourceClaims"): NAMED,
    ("spec", "schedulingGates"): NAMED,
    ("containers", "ports"): Merging(MAP, ("containerPort", "protocol"), TCP),
    ("initContainers", "ports"): Merging(MAP, ("containerPort", "protocol"), TCP),
    ("spec", "ports"): Merging(MAP, ("port", "protocol"), TCP),
    ("status", "conditions"): Merging(MAP, ("type",)),
    ("status", "addresses"): Merging(MAP, ("type",)),
    ("status", "podIPs"): Merging(MAP, ("ip",)),
    ("*", "secrets"): NAMED,
    ("*", "webhooks"): NAMED,
}
ATOMIC_MAPS = frozenset(("selector", "nodeSelector", "labelSelector", "requiredDuringSchedulingIgnoredDuringExecution",
    "valueFrom", "secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef", "managedFields"))  # fmt: skip
# Merged by strategic merge patch, though atomic to server-side apply. Their patch key is one field.
PATCH_ONLY = {("spec", "taints"): "key", ("*", "taints"): "key"}


def merging_of(path: tuple[str, ...], schema: Json | None) -> Merging:
    """How the list at this path (field names, list items skipped) merges; `schema`: its node in a custom resource."""
    parent = path[-2] if len(path) > 1 else ""
    if schema is not None and path[0] != "metadata":
        keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        items = ((schema.get("items") or {}).get("properties")) or {}
        defaults = tuple((key, items[key]["default"]) for key in keys if "default" in items.get(key, {}))
        return Merging(schema.get("x-kubernetes-list-type", ATOMIC), keys, defaults)
    return LISTS.get((parent, path[-1])) or LISTS.get(("*", path[-1])) or WHOLE


def is_atomic_map(path: tuple[str, ...], schema: Json | None) -> bool:
    """Whether the map at this path is one value to server-side apply."""
    if schema is not None and path and path[0] != "metadata":
        return schema.get("x-kubernetes-map-type") == ATOMIC
    # A Service's selector is granular until 1.20 and atomic since; a workload's has always been atomic.
    return bool(path) and path[-1] in ATOMIC_MAPS


def child_schema(schema: Json | None, key: str) -> Json | None:
    """The schema of a field; None where built-in rules hold."""
    if schema is None:
        return None
    known = (schema.get("properties") or {}).get(key)
    if known is not None:
        found: Json = known
        return found
    additional = schema.get("additionalProperties")
    return additional if isinstance(additional, dict) else {}


def item_key(item: Any, merging: Merging) -> tuple[Any, ...] | None:
    """The identity of a list item; None when a key is absent."""
    if merging.type == SET:
        return (item,)
    if not isinstance(item, dict):
        return None
    filled = dict(merging.defaults) | item
    return tuple(filled[key] for key in merging.keys) if all(key in filled for key in merging.keys) else None


def patch_key(path: tuple[str, ...]) -> str | None:
    """The field by which strategic merge patch merges the list; empty for a list of scalars, None: replaced."""
    parent = path[-2] if len(path) > 1 else ""
    if key := PATCH_ONLY.get((parent, path[-1])):
        return key
    merging = merging_of(path, None)
    if merging.type == ATOMIC:
        return None
    return merging.keys[0] if merging.keys else ""
