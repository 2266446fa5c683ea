"""Strategic merge patch: JSON merge patch that knows merge keys and $patch directives. Built-in kinds only."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.local.apiserver.errors import bad_request
from kaito.local.apiserver.json_values import copied
from kaito.local.apiserver.merge_keys import patch_key

ORDER = "$setElementOrder/"
DELETE_ITEMS = "$deleteFromPrimitiveList/"
DIRECTIVES = ("$patch", "$retainKeys")


def strategic_merged(target: Any, patch: Any, path: tuple[str, ...] = ()) -> Any:
    """The patched object. Raises StatusError 400 for a list item without its merge key or an unknown directive."""
    if not isinstance(patch, dict):
        return copied(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copied(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found in $patch: {directive!r} (replace, delete and merge are known)")
    result: Json = dict(target) if isinstance(target, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key in DIRECTIVES or key.startswith((ORDER, DELETE_ITEMS)):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = strategic_merged(result.get(key), value, (*path, key))
        elif isinstance(value, list):
            result[key] = _list(result.get(key) or [], value, (*path, key))
        else:
            result[key] = value
    _directed(result, patch, path)
    merged: Json = copied(result)
    return merged


def _directed(result: Json, patch: Json, path: tuple[str, ...]) -> None:
    """Directives beside the lists that they are about."""
    for key, value in patch.items():
        if key.startswith(DELETE_ITEMS):
            field = key.removeprefix(DELETE_ITEMS)
            result[field] = [item for item in result.get(field) or [] if item not in value]
    for key, value in patch.items():
        if key.startswith(ORDER):
            field = key.removeprefix(ORDER)
            if result.get(field):
                result[field] = _ordered(result[field], value, patch_key((*path, field)))


def _list(old: list[Any], patch: list[Any], path: tuple[str, ...]) -> list[Any]:
    key = patch_key(path)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    if key is None:
        return patch
    if key == "":
        return [*old, *(item for item in patch if item not in old)]
    result = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key} at {'.'.join(path)}")
        places = [index for index, found in enumerate(result) if found.get(key) == item[key]]
        if item.get("$patch") == "delete":
            result = [found for found in result if found.get(key) != item[key]]
        elif places:
            result[places[0]] = strategic_merged(result[places[0]], item, path)
        else:
            result.append(strategic_merged({}, item, path))
    return result


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Items that the order names, as it says; the others keep their place relative to what stood before them."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    listed = sorted((item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    result: list[Any] = []
    queue = iter(listed)
    for item in items:
        result.append(next(queue) if identity(item) in wanted else item)
    return result
