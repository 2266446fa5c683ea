"""The least of an API server over HTTP that an operator can live on, in the process of a benchmark.

It lists in pages, watches, creates, merge-patches and deletes; it validates nothing. `on_write` is told of each write
as it arrives, and `put` changes an object behind the operator's back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from kaito.api.meta import ResourceKind

Json = dict[str, Any]
OnWrite = Callable[[str, str, str, float], None]  # verb, plural, name, monotonic seconds


class ApiStub:
    def __init__(self, kinds: Iterable[ResourceKind], on_write: OnWrite = lambda *_: None) -> None:
        self.kinds = {kind.plural: kind for kind in kinds}
        self.objects: dict[str, dict[str, Json]] = {plural: {} for plural in self.kinds}
        self.on_write = on_write
        self._watchers: dict[str, set[asyncio.Queue[bytes]]] = {plural: set() for plural in self.kinds}
        self._versions, self._uids = itertools.count(1_000), itertools.count(1)

    def put(self, plural: str, obj: Json, type_: str = "MODIFIED") -> None:
        """Stores the object under a new version and tells the watchers."""
        kind = self.kinds[plural]
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        if type_ == "DELETED":
            self.objects[plural].pop(obj["metadata"]["name"], None)
        else:
            self.objects[plural][obj["metadata"]["name"]] = obj
        if self._watchers[plural]:
            line = json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"
            for watcher in self._watchers[plural]:
                watcher.put_nowait(line)

    def is_watched(self, plural: str) -> bool:
        return bool(self._watchers[plural])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves for as long as the block lasts; yields the address."""
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            for watcher in itertools.chain(*self._watchers.values()):
                watcher.put_nowait(b"")
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts == ["version"]:
            return web.json_response({"major": "1", "minor": "36"})
        if parts == ["apis"]:
            groups = sorted({(kind.group, kind.version) for kind in self.kinds.values() if kind.group})
            listed = [{"name": g, "versions": [{"version": v, "groupVersion": f"{g}/{v}"}]} for g, v in groups]
            return web.json_response({"groups": listed})
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        if not rest:
            names = [kind.plural for kind in self.kinds.values() if kind.group == group]
            return web.json_response({"resources": [{"name": name} for name in names]})
        if rest[0] == "namespaces" and len(rest) > 2:
            rest = rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        if plural not in self.objects:
            return web.json_response({"reason": "NotFound", "message": request.path}, status=404)
        if request.method != "GET":
            return await self._write(request, plural, name)
        if name:
            found = self.objects[plural].get(name)
            return web.json_response(found or {"reason": "NotFound"}, status=200 if found else 404)
        return await self._watch(request, plural) if "watch" in request.query else self._list(request, plural)

    def _list(self, request: web.Request, plural: str) -> web.Response:
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 500)
        items = list(itertools.islice(self.objects[plural].values(), start, start + limit))
        is_last = start + limit >= len(self.objects[plural])
        metadata = {"resourceVersion": str(next(self._versions)), "continue": "" if is_last else str(start + limit)}
        return web.json_response({"metadata": metadata, "items": items})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers[plural].add(lines)
        try:
            await response.prepare(request)
            while line := await lines.get():
                await response.write(line)
        except ConnectionError:
            pass
        finally:
            self._watchers[plural].discard(lines)
        return response

    async def _write(self, request: web.Request, plural: str, name: str) -> web.Response:
        body = await request.json()
        name = name or body["metadata"]["name"]
        self.on_write(request.method, plural, name, time.monotonic())
        if request.method == "POST":
            body["metadata"] |= {"uid": f"uid-{next(self._uids)}", "generation": 1}
            self.put(plural, body, "ADDED")
            return web.json_response(body, status=201)
        found = self.objects[plural].get(name)
        if found is None:
            return web.json_response({"reason": "NotFound", "message": name}, status=404)
        if request.method == "DELETE":
            self.put(plural, found, "DELETED")
            return web.json_response(found)
        merged = _merged(found, body)
        self.put(plural, merged)
        return web.json_response(merged)


def _merged(target: Json, patch: Json) -> Json:
    """JSON merge patch (RFC 7386)."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            known = result.get(key)
            result[key] = _merged(known if isinstance(known, dict) else {}, value)
        else:
            result[key] = value
    return result
