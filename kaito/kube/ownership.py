"""Field ownership: what we POSTed must count as applied, or a later apply cannot remove it.

The server books a POST under (manager, Update) and an apply under (manager, Apply), and removes a field that an apply
leaves out only where nobody else holds it. So before the first apply the two entries become one. Pure.
"""

from __future__ import annotations

from copy import deepcopy

from kaito.api.meta import Json
from kaito.kube.client import FIELD_MANAGER


def adopt(managed_fields: list[Json], manager: str = FIELD_MANAGER) -> list[Json] | None:
    """The entries with the manager's own Update moved into its Apply; None when there is nothing to move."""
    created = [entry for entry in managed_fields if _is(entry, manager, "Update")]
    if not created:
        return None
    applied = [entry for entry in managed_fields if _is(entry, manager, "Apply")]
    others = [entry for entry in managed_fields if entry not in created and entry not in applied]
    fields: Json = {}
    for entry in (*created, *applied):
        fields = _union(fields, entry.get("fieldsV1") or {})
    return [deepcopy((*applied, *created)[0]) | {"operation": "Apply", "fieldsV1": fields}, *others]


def _is(entry: Json, manager: str, operation: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource")


def _union(left: Json, right: Json) -> Json:
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _union(merged.get(key, {}), value)
    return merged
