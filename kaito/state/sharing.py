"""Where the user brings the nodes, roots compete for them: what one does with its share is news for the others."""

from __future__ import annotations

from typing import Any

from kaito.api.core import NODE, POD
from kaito.api.meta import ResourceKind
from kaito.api.workloads import STATEFUL_SET


def is_share_changed(kind: ResourceKind, before: Any | None, after: Any | None, *, is_root: bool) -> bool:
    """Whether this change of an object may alter which root has which nodes."""
    if kind == NODE:
        return True
    if before is None or after is None:
        return is_root or kind in (STATEFUL_SET, POD)
    if is_root:
        return _claim_of(before) != _claim_of(after)
    return kind == POD and bool(before.spec.node_name != after.spec.node_name)


def _claim_of(root: Any) -> tuple[Any, ...]:
    """What of a root decides on its share: its spec, its end, and the number of nodes that it was granted."""
    metadata, status = getattr(root, "metadata", None), getattr(root, "status", None) or {}
    ended = getattr(metadata, "deletion_timestamp", None)
    return (getattr(metadata, "generation", 0), ended, status.get("targetNodeCount"))
