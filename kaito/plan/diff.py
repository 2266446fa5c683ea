"""desired ⊄ observed → what differs. What we do not mention is not ours: server defaults make no noise.

Maps are compared key by key, lists with a merge key entry by entry in any order, other lists in order and whole.
Quantities are compared by value (`1000m` = `1`). A zero or empty desired value equals an absent one, because the server
drops those (`omitempty`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kaito.api.meta import Json
from kaito.api.names import DESIRED_HASH_ANNOTATION
from kaito.api.quantity import same_quantity

# Field of a list → the fields that identify an entry (`patchMergeKey` / `x-kubernetes-list-map-keys` of the core
# types).
MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port", "protocol"),  # container ports and Service ports; each entry has one of the two
    "ownerReferences": ("uid",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
QUANTITY_MAPS = frozenset({"requests", "limits", "capacity", "allocatable", "hard"})
QUANTITY_FIELDS = frozenset({"sizeLimit", "divisor"})
KEY_DEFAULTS = {"protocol": "TCP"}


@dataclass(frozen=True, slots=True)
class Change:
    """One place where the observed object is not as desired; `seen` is None where it has nothing."""

    path: str  # spec.template.spec.containers[phi].image
    wanted: Any
    seen: Any

    def __str__(self) -> str:
        return f"{self.path} is {_brief(self.seen)}, should be {_brief(self.wanted)}"


def diff(desired: Json, observed: Json) -> tuple[Change, ...]:
    """Every owned field whose observed value differs, in the order of the desired object."""
    return tuple(_of_map(desired, observed, "", is_quantity=False))


def desired_hash(body: Json) -> str:
    """sha256 of the desired body, whatever the order of its keys, without the annotation that carries the hash."""
    metadata = body.get("metadata", {})
    annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != DESIRED_HASH_ANNOTATION}
    bare = body | {"metadata": metadata | {"annotations": annotations}}
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def stamped(body: Json) -> Json:
    """The body with the annotation that carries its hash."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations", {}) | {DESIRED_HASH_ANNOTATION: desired_hash(body)}
    return body | {"metadata": metadata | {"annotations": annotations}}


def _of_map(desired: Json, observed: Json, path: str, *, is_quantity: bool) -> Iterator[Change]:
    for key, wanted in desired.items():
        below = f"{path}.{key}" if path else key
        yield from _of_value(key, wanted, observed.get(key), below, is_quantity or key in QUANTITY_FIELDS)


def _of_value(field: str, wanted: Any, seen: Any, path: str, is_quantity: bool) -> Iterator[Change]:
    if _is_empty(wanted) and _is_empty(seen):
        return
    if isinstance(wanted, dict) and isinstance(seen, dict):
        yield from _of_map(wanted, seen, path, is_quantity=field in QUANTITY_MAPS)
    elif isinstance(wanted, list) and isinstance(seen, list):
        yield from _of_list(field, wanted, seen, path)
    elif not _is_equal(wanted, seen, is_quantity):
        yield Change(path, wanted, seen)


def _of_list(field: str, wanted: list[Any], seen: list[Any], path: str) -> Iterator[Change]:
    keys = MERGE_KEYS.get(field)
    if keys and all(isinstance(entry, dict) for entry in (*wanted, *seen)):
        found = {_identity(entry, keys): entry for entry in seen}
        for entry in wanted:
            identity = _identity(entry, keys)
            below = f"{path}[{'/'.join(str(part) for part in identity if part is not None)}]"
            yield from _of_value("", entry, found.get(identity), below, False)
    elif len(wanted) == len(seen):
        for index, (entry, other) in enumerate(zip(wanted, seen, strict=True)):
            yield from _of_value("", entry, other, f"{path}[{index}]", False)
    else:
        yield Change(path, wanted, seen)


def _identity(entry: Json, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(entry.get(key, KEY_DEFAULTS.get(key)) for key in keys)


def _is_equal(wanted: Any, seen: Any, is_quantity: bool) -> bool:
    if is_quantity and isinstance(wanted, str | int) and isinstance(seen, str | int):
        return same_quantity(str(wanted), str(seen))
    return isinstance(wanted, bool) == isinstance(seen, bool) and bool(wanted == seen)


def _is_empty(value: Any) -> bool:
    return value is None or value in ({}, [], "", 0, False)


def _brief(value: Any) -> str:
    text = json.dumps(value, sort_keys=True) if value is not None else "absent"
    return text if len(text) <= 80 else text[:77] + "..."
