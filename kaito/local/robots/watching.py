"""follow: one kind's list and watch as events. Objects stay whole: robots copy templates and patch what they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import msgspec

from kaito.api.meta import Json, ObjectRef, ResourceKind, ResourceVersion
from kaito.kube.client import ALL, KubeClient, Scope
from kaito.kube.errors import ApiError, Gone
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent

WATCH_TIMEOUT_S = 290
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 10.0
PAGE_LIMIT = 500

Sink = Callable[[ResourceKind, WatchEvent], None]


async def follow(client: KubeClient, kind: ResourceKind, sink: Sink, scope: Scope = ALL) -> None:
    """Feeds the sink for ever. A failed list or watch is tried again, at most every RETRY_MAX_S."""
    version, retry_s = "", RETRY_FIRST_S
    while True:
        try:
            if not version:
                version = await _list(client, kind, sink, scope)
            version = await _watch(client, kind, sink, scope, version)
            retry_s = RETRY_FIRST_S
        except Gone:
            version = ""
        except (ApiError, msgspec.DecodeError, json.JSONDecodeError):
            await anyio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MAX_S)


async def _list(client: KubeClient, kind: ResourceKind, sink: Sink, scope: Scope) -> str:
    found: list[Json] = []
    version, token = "", ""
    while True:
        page = msgspec.json.decode(await client.list_page(kind, scope, limit=PAGE_LIMIT, continue_=token))
        found += page.get("items") or []
        version, token = page["metadata"]["resourceVersion"], page["metadata"].get("continue") or ""
        if not token:
            break
    sink(kind, Init())
    for item in found:
        sink(kind, InitApply(ref_of(kind, item), item))
    sink(kind, InitDone(ResourceVersion(version)))
    return str(version)


async def _watch(client: KubeClient, kind: ResourceKind, sink: Sink, scope: Scope, version: str) -> str:
    """The resourceVersion to go on from. Raises `Gone` when it is too old."""
    rest = b""
    async with client.open_watch(kind, scope, resource_version=version, timeout_s=WATCH_TIMEOUT_S) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    version = _receive(kind, sink, msgspec.json.decode(line), version)
    return version


def _receive(kind: ResourceKind, sink: Sink, event: Any, version: str) -> str:
    obj = event["object"]
    match event["type"]:
        case "ADDED" | "MODIFIED":
            sink(kind, Apply(ref_of(kind, obj), obj))
        case "DELETED":
            sink(kind, Delete(ref_of(kind, obj), obj))
        case "ERROR":
            if obj.get("code") == 410:
                raise Gone(obj.get("message", "the watch is too old"))
            raise ApiError(obj.get("message", "the watch failed"), code=obj.get("code", 500))
    return str(obj["metadata"].get("resourceVersion") or version)


def ref_of(kind: ResourceKind, obj: Json) -> ObjectRef:
    return kind.ref(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
