"""The rights of our own containers: as few as a model server needs (the `restricted` Pod Security Standard)."""

from __future__ import annotations

from kaito.api.meta import Json
from kaito.plan.pods.part import PodPart

USER_ID = 1000  # of our images; volumes are handed to it

POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def scratch() -> PodPart:
    """The place where a server on a read-only root may write: compiler caches, Ray's session."""
    return PodPart(
        ({"name": "scratch", "emptyDir": {}},),
        ({"name": "scratch", "mountPath": "/tmp"},),
        ({"name": "HOME", "value": "/tmp"},),
    )
