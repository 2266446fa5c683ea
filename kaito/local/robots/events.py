"""Kubernetes Events of the robots: one object per (about, reason, message), its count going up."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

from kaito.api.core import EVENT
from kaito.api.meta import Json, ResourceKind
from kaito.clock import rfc3339
from kaito.kube.errors import AlreadyExists, ApiError, NotFound
from kaito.local.robots.world import World


async def emit(
    world: World,
    component: str,
    kind: ResourceKind,
    about: Json,
    type_: Literal["Normal", "Warning"],
    reason: str,
    message: str,
) -> None:
    """Posts or counts up one Event. Events are droppable: a failure is not the caller's problem."""
    meta = about["metadata"]
    namespace = meta.get("namespace") or "default"
    digest = sha256(f"{meta['uid']}\0{reason}\0{message}\0{component}".encode()).hexdigest()[:16]
    name, now = f"{meta['name']}.{digest}", rfc3339(world.now())
    body: Json = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta["uid"],
        },
        "type": type_,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "local",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await world.client.create(EVENT, namespace, body)
    except AlreadyExists:
        await _count_up(world, namespace, name, now)
    except ApiError:
        return


async def _count_up(world: World, namespace: str, name: str, now: str) -> None:
    ref = EVENT.ref(namespace, name)
    try:
        found = await world.client.read(EVENT, ref)
        patch = {"count": int(found.get("count") or 1) + 1, "lastTimestamp": now}
        await world.client.merge_patch(EVENT, ref, patch)
    except (NotFound, ApiError):
        return
