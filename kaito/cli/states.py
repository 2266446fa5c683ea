"""How far a root is, in the one word that `kaito explain` and `kaito status` say first."""

from __future__ import annotations

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json

NOT_YET = "not reconciled yet"
DELETED = "being deleted"


def state_of(body: Json) -> str:
    """The status's own word; an InferenceSet, which has none, is as ready as its replicas. Empty: nobody has looked."""
    status: Json = body.get("status") or {}
    if body["metadata"].get("deletionTimestamp"):
        return DELETED
    if body.get("kind") != INFERENCE_SET.kind or not status:
        return str(status.get("state") or "")
    is_ready = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}.get(
        "InferenceSetReady"
    )
    if is_ready == "True":
        return "Ready"
    return "NotReady" if status.get("readyReplicas") else "Pending"
