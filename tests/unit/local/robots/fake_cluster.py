"""FakeCluster: the least of an API server that robots can live on, in memory, behind the KubeClient protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel

from kaito.api.core import POD
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import rfc3339
from kaito.kube.client import ALL, Discovery, Scope
from kaito.kube.errors import AlreadyExists, Conflict, NotFound


class FakeCluster:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.objects: dict[ResourceKind, dict[ObjectRef, Json]] = {}
        self.version = 0
        self.events: list[tuple[ResourceKind, Json]] = []
        self.wake = anyio.Event()
        self.creates: list[ObjectRef] = []
        self.writes = 0

    def store(self, kind: ResourceKind) -> dict[ObjectRef, Json]:
        return self.objects.setdefault(kind, {})

    def get(self, kind: ResourceKind, name: str, namespace: str = "default") -> Json:
        return self.store(kind)[kind.ref(namespace, name)]

    def all(self, kind: ResourceKind) -> list[Json]:
        return [obj for _, obj in sorted(self.store(kind).items())]

    async def discover(self) -> Discovery:
        return Discovery(1, 36)

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        await anyio.lowlevel.checkpoint()
        return json.dumps({"metadata": {"resourceVersion": str(self.version)}, "items": self.all(kind)}).encode()

    @asynccontextmanager
    async def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            at, ends_s = int(resource_version), anyio.current_time() + timeout_s
            while anyio.current_time() < ends_s:
                batch = self.events[at:]
                at += len(batch)  # what comes while the reader lags is the next batch
                for of_kind, event in batch:
                    if of_kind == kind:
                        yield json.dumps(event).encode() + b"\n"
                if at == len(self.events):
                    with anyio.move_on_at(ends_s):
                        await self.wake.wait()

        yield chunks()

    def _commit(self, kind: ResourceKind, type_: str, obj: Json) -> Json:
        self.version += 1
        self.writes += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((kind, {"type": type_, "object": deepcopy(obj)}))
        wake, self.wake = self.wake, anyio.Event()
        wake.set()
        return deepcopy(obj)

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        await anyio.lowlevel.checkpoint()
        if ref not in self.store(kind):
            raise NotFound(str(ref))
        return deepcopy(self.store(kind)[ref])

    async def create(
        self, kind: ResourceKind, namespace: str, body: Json, *, subresource: str = "", name: str = ""
    ) -> Json:
        await anyio.lowlevel.checkpoint()
        if subresource == "binding":
            pod = self.store(kind)[kind.ref(namespace, name)]
            if pod["spec"].get("nodeName"):
                raise Conflict(f"{name} is bound already")
            pod["spec"]["nodeName"] = body["target"]["name"]
            return self._commit(kind, "MODIFIED", pod)
        ref = kind.ref(namespace, body["metadata"]["name"])
        if ref in self.store(kind):
            raise AlreadyExists(str(ref))
        obj = deepcopy(body)
        obj["metadata"] |= {
            "uid": f"uid-{self.version}",
            "creationTimestamp": rfc3339(self.now()),
            "generation": 1,
        } | ({"namespace": namespace} if kind.namespaced else {})
        obj["metadata"].setdefault("labels", {})
        obj.setdefault("status", {})
        self.store(kind)[ref] = obj
        self.creates.append(ref)
        return self._commit(kind, "ADDED", obj)

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        raise NotImplementedError

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, *, subresource: str = "") -> Json:
        await anyio.lowlevel.checkpoint()
        if ref not in self.store(kind):
            raise NotFound(str(ref))
        obj = self.store(kind)[ref]
        meta = patch.get("metadata") or {}
        for key in ("uid", "resourceVersion"):
            if key in meta and meta[key] != obj["metadata"][key]:
                raise Conflict(f"{ref}: {key} is {obj['metadata'][key]}, not {meta[key]}")
        merged = _merge(obj, patch)
        if merged == obj:
            return deepcopy(obj)
        if merged.get("spec") != obj.get("spec"):
            merged["metadata"]["generation"] += 1
        had_finalizers = bool(obj["metadata"].get("finalizers"))
        obj.clear()
        obj.update(merged)
        is_last = had_finalizers and not obj["metadata"].get("finalizers")
        if is_last and obj["metadata"].get("deletionTimestamp"):
            del self.store(kind)[ref]
            return self._commit(kind, "DELETED", obj)
        return self._commit(kind, "MODIFIED", obj)

    async def edit(self, kind: ResourceKind, name: str, patch: Json, namespace: str = "default") -> Json:
        """What a user does."""
        return await self.merge_patch(kind, kind.ref(namespace, name), patch)

    async def delete(
        self,
        kind: ResourceKind,
        ref: ObjectRef,
        *,
        uid: str,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        await anyio.lowlevel.checkpoint()
        obj = self.store(kind).get(ref)
        if obj is None:
            raise NotFound(str(ref))
        if obj["metadata"]["uid"] != uid:
            raise Conflict(f"{ref}: another uid")
        is_bound_pod = kind == POD and obj["spec"].get("nodeName")
        if obj["metadata"].get("finalizers") or (is_bound_pod and grace_s != 0):
            if not obj["metadata"].get("deletionTimestamp"):
                grace = obj["spec"].get("terminationGracePeriodSeconds", 30) if kind == POD else 0
                obj["metadata"]["deletionTimestamp"] = rfc3339(self.now() + timedelta(seconds=grace))
                obj["metadata"]["deletionGracePeriodSeconds"] = grace
                self._commit(kind, "MODIFIED", obj)
            return
        del self.store(kind)[ref]
        self._commit(kind, "DELETED", obj)

    async def read_log(self, ref: ObjectRef, *, container: str, tail_lines: int, **_: Any) -> str:
        raise NotImplementedError

    async def aclose(self) -> None:
        return None


def _merge(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
