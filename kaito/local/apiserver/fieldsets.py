"""Field sets: which fields of an object a manager owns, as paths, and as `fieldsV1` on the wire.

A path is a tuple of elements in the notation of fieldsV1: `f:name` a field, `k:{"name":"x"}` an item of a keyed list,
`v:"x"` an item of a set. A path that names a keyed item itself means that the manager put the item there.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from kaito.api.meta import Json
from kaito.local.apiserver.errors import bad_request, internal
from kaito.local.apiserver.merge_keys import (
    ATOMIC,
    SET,
    Merging,
    child_schema,
    is_atomic_map,
    item_key,
    merging_of,
)

Path: TypeAlias = tuple[str, ...]
Leaves: TypeAlias = dict[Path, Any]
ITEM = object()  # the value at the path of a keyed item: only its presence counts

STRIPPED: frozenset[Path] = frozenset(
    [("f:apiVersion",), ("f:kind",)]
    + [("f:metadata", f"f:{name}") for name in (
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
        "deletionGracePeriodSeconds", "selfLink", "managedFields", "generateName",
    )]
)  # fmt: skip


def leaves_of(obj: Json, schema: Json | None) -> Leaves:
    """Every ownable path of the object and its value. Raises StatusError 500 for an item without its keys."""
    found: Leaves = {}
    _walk(obj, (), (), schema, found)
    return {path: value for path, value in found.items() if path[:2] not in STRIPPED and path[:1] not in STRIPPED}


def _walk(value: Any, path: Path, names: tuple[str, ...], schema: Json | None, found: Leaves) -> None:
    if isinstance(value, dict) and (value or not path) and not (names and is_atomic_map(names, schema)):
        for key, child in value.items():
            _walk(child, (*path, f"f:{key}"), (*names, key), child_schema(schema, key), found)
        return
    if isinstance(value, list) and value:
        merging = merging_of(names, schema)
        if merging.type != ATOMIC:
            for index, item in enumerate(value):
                at = (*path, element(item, merging, names, index))
                found[at] = ITEM
                if merging.type != SET:
                    _walk(item, at, names, (schema or {}).get("items") if schema is not None else None, found)
            return
    found[path] = value


def element(item: Any, merging: Merging, names: tuple[str, ...], index: int) -> str:
    """The path element of a list item."""
    key = item_key(item, merging)
    if key is None:
        missing = next((name for name in merging.keys if not isinstance(item, dict) or name not in item), "")
        raise internal(
            f"failed to create typed patch object: .{'.'.join(names)}: element {index}: associative list with keys has "
            f'an element that omits key field "{missing}"'
        )
    if merging.type == SET:
        return "v:" + json.dumps(item, separators=(",", ":"))
    pairs = dict(sorted(zip(merging.keys, key, strict=True)))
    return "k:" + json.dumps(pairs, separators=(",", ":"))


def to_fields(paths: frozenset[Path]) -> Json:
    """`fieldsV1` of a set of paths."""
    root: Json = {}
    for path in sorted(paths):
        node = root
        for part in path:
            node = node.setdefault(part, {})
    for path in paths:
        node = root
        for part in path:
            node = node[part]
        if node:
            node["."] = {}
    return root


def from_fields(fields: Json) -> frozenset[Path]:
    """The paths that `fieldsV1` names: its leaves, and what carries a dot. Raises StatusError 400."""
    found: set[Path] = set()

    def walk(node: Any, path: Path) -> None:
        if not isinstance(node, dict):
            raise bad_request(f"metadata.managedFields: fieldsV1 at {'/'.join(path)}: an object is expected")
        for key, child in node.items():
            if key == ".":
                found.add(path)
            elif child:
                walk(child, (*path, key))
            else:
                found.add((*path, key))

    walk(fields, ())
    return frozenset(found)


def shown_path(path: Path) -> str:
    """A path as conflicts print it: `.spec.containers[name="x"].image`."""
    text = ""
    for part in path:
        kind, _, rest = part.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(rest).items()) + "]"
        else:
            text += f"[={rest}]"
    return text
