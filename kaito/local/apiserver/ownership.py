"""Field ownership: what an update owns, and server-side apply. Pure functions over whole objects.

Laws: applying the same body twice changes nothing; what an applier leaves out and nobody else owns goes; a value that
another manager owns changes only by force, and then changes hands.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kaito.api.meta import Json
from kaito.local.apiserver.errors import StatusError
from kaito.local.apiserver.fieldsets import ITEM, Leaves, Path, from_fields, leaves_of, shown_path, to_fields
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.merge_keys import ATOMIC, SET, child_schema, is_atomic_map, item_key, merging_of

ABSENT = object()


class Writer(NamedTuple):
    """Identity in managedFields."""

    manager: str
    operation: str  # Apply | Update
    subresource: str = ""


Owners = dict[Writer, frozenset[Path]]


def owners_of(obj: Json) -> Owners:
    """The managers of an object and their fields."""
    found: Owners = {}
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        if not entry:
            continue
        writer = Writer(entry.get("manager", ""), entry.get("operation", "Update"), entry.get("subresource", ""))
        found[writer] = found.get(writer, frozenset()) | from_fields(entry.get("fieldsV1") or {})
    return found


def own_update(old: Json | None, new: Json, writer: Writer, schema: Json | None, time: str) -> None:
    """Books what an update has changed under its writer, in place."""
    base: Json = old or {}
    metadata = new["metadata"]
    is_given = old is not None and metadata.get("managedFields") != base["metadata"].get("managedFields")
    owners = owners_of(new if is_given and metadata.get("managedFields") is not None else base or new)
    before, after = leaves_of(base, schema), leaves_of(new, schema)
    changed = frozenset(path for path, value in after.items() if not _same(before.get(path, ABSENT), value))
    gone = frozenset(before) - frozenset(after)
    for other in list(owners):
        owners[other] -= gone | (changed if other != writer else frozenset())
    owners[writer] = owners.get(writer, frozenset()) | changed
    _book(base if not is_given else new, new, owners, time)


def _same(left: Any, right: Any) -> bool:
    return left is right or bool(left == right)


def _book(base: Json, new: Json, owners: Owners, time: str) -> None:
    """Writes managedFields; entries whose fields are as before keep their time."""
    before = {
        Writer(entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")): entry
        for entry in (base.get("metadata") or {}).get("managedFields") or ()
        if entry
    }
    entries = []
    for writer, paths in owners.items():
        if not paths:
            continue
        known = before.get(writer)
        fields = to_fields(paths)
        if known is not None and from_fields(known.get("fieldsV1") or {}) == paths:
            entries.append(copied(known))
            continue
        entry: Json = {"manager": writer.manager, "operation": writer.operation, "apiVersion": new["apiVersion"],
                       "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}  # fmt: skip
        entries.append(entry | ({"subresource": writer.subresource} if writer.subresource else {}))
    entries.sort(key=lambda entry: (entry["operation"] != "Apply", entry.get("time", ""), entry["manager"]))
    if entries:
        new["metadata"]["managedFields"] = entries
    else:
        new["metadata"].pop("managedFields", None)


def applied(live: Json | None, body: Json, writer: Writer, schema: Json | None, time: str, *, force: bool) -> Json:
    """The object after server-side apply. Raises StatusError 409 with one cause a conflict."""
    config = leaves_of(body, schema)
    base: Json = live or {}
    owners, current = owners_of(base), leaves_of(base, schema)
    conflicts = _conflicts(owners, writer, config, current)
    if conflicts and not force:
        raise _conflict(conflicts)
    for other, paths in conflicts.items():
        owners[other] -= paths
    dropped = owners.get(writer, frozenset()) - frozenset(config)
    held = frozenset(path for other, paths in owners.items() if other != writer for path in paths)
    result: Json = _merge(base, body, (), schema)
    # A map or an item goes with its last owner, but not while someone owns something within it.
    needed = frozenset(path[:length] for path in held | frozenset(config) for length in range(1, len(path) + 1))
    result = _without(result, frozenset(dropped - needed), needed, (), (), schema)
    owners[writer] = frozenset(config)
    remaining = frozenset(leaves_of(result, schema))
    for other in list(owners):
        if other != writer:  # what now is nowhere belongs to nobody
            owners[other] = frozenset(path for path in owners[other] if path in remaining or path not in current)
    result.setdefault("metadata", {})
    _book(base, result, owners, time)
    return result


def _conflicts(owners: Owners, writer: Writer, config: Leaves, current: Leaves) -> dict[Writer, frozenset[Path]]:
    changed = frozenset(
        path for path, value in config.items() if value is not ITEM and not _same(current.get(path, ABSENT), value)
    )
    found = {other: paths & changed for other, paths in owners.items() if other != writer}
    return {other: paths for other, paths in found.items() if paths}


def _conflict(conflicts: dict[Writer, frozenset[Path]]) -> StatusError:
    causes, lines = [], []
    for writer, paths in conflicts.items():
        by = f'conflict with "{writer.manager}"'
        if writer.subresource:
            by += f' with subresource "{writer.subresource}"'
        if writer.operation == "Update":
            by += " using v1"
        for path in sorted(paths):
            causes.append({"reason": "FieldManagerConflict", "message": by, "field": shown_path(path)})
        lines.append(f"{by}: " + ", ".join(shown_path(path) for path in sorted(paths)))
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    message = f"Apply failed with {count}: " + "; ".join(lines)
    return StatusError(409, "Conflict", message, details={"causes": causes})


def _merge(live: Any, body: Any, names: tuple[str, ...], schema: Json | None) -> Any:
    if isinstance(body, dict):
        if names and is_atomic_map(names, schema):
            return copied(body)
        result = dict(live) if isinstance(live, dict) else {}
        for key, value in body.items():
            if value is not None:
                result[key] = _merge(result.get(key), value, (*names, key), child_schema(schema, key))
        return copied(result)
    if isinstance(body, list):
        merging = merging_of(names, schema)
        if merging.type == ATOMIC or not isinstance(live, list):
            return copied(body)
        known = {item_key(item, merging): item for item in live}
        wanted = {item_key(item, merging): item for item in body}
        items = (schema or {}).get("items") if schema is not None else None
        kept = [item for key, item in known.items() if key not in wanted]
        if merging.type == SET:
            return copied([*kept, *body] if any(item not in live for item in body) else live)
        merged = {key: _merge(known.get(key), item, names, items) for key, item in wanted.items()}
        if all(key in known for key in merged):  # nothing new: the order stays
            return copied([merged.get(key, item) for key, item in known.items()])
        return copied([*merged.values(), *kept])
    return body


def _without(
    value: Any, gone: frozenset[Path], held: frozenset[Path], path: Path, names: tuple[str, ...], schema: Json | None
) -> Any:
    """The value without the paths that nobody holds any more; containers that become empty go with them."""
    if isinstance(value, dict) and not (names and is_atomic_map(names, schema)):
        result: Json = {}
        for key, child in value.items():
            at = (*path, f"f:{key}")
            if at in gone:
                continue
            kept = _without(child, gone, held, at, (*names, key), child_schema(schema, key))
            if kept in ({}, []) and child not in ({}, []) and at not in held:
                continue
            result[key] = kept
        return result
    if isinstance(value, list) and value and (merging := merging_of(names, schema)).type != ATOMIC:
        items = (schema or {}).get("items") if schema is not None else None
        kept_items = []
        for item in value:
            at = (*path, _element(item, merging.type, merging.keys, item_key(item, merging)))
            if at in gone:
                continue
            kept_items.append(item if merging.type == SET else _without(item, gone, held, at, names, items))
        return kept_items
    return value


def _element(item: Any, type_: str, keys: tuple[str, ...], key: tuple[Any, ...] | None) -> str:
    if type_ == SET or key is None:
        return "v:" + json.dumps(item, separators=(",", ":"))
    return "k:" + json.dumps(dict(sorted(zip(keys, key, strict=True))), separators=(",", ":"))
