"""Watches: change streams to clients, until their time is up, they hang up, or the server ends."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
from aiohttp import web

from kaito.api.meta import Json
from kaito.clock import Clock
from kaito.local.apiserver import ApiServer, Resource, StatusError, Watch
from kaito.local.apiserver.watch import Event
from kaito.local.http import query as queries
from kaito.local.http.bodies import JSON_TYPE, Shape, encode
from kaito.local.http.respond import NO_SNIFF
from kaito.local.http.tables import as_partial, as_table
from kaito.local.watching import watch_events

TIMEOUT_S = 1_800.0  # without timeoutSeconds: this to twice this, as the real server's min-request-timeout
TIMEOUT_MAX_S = 3_600.0
WATCHES_MAX = 1_000


class Watches:
    def __init__(self, server: ApiServer, *, now: Clock, rng: Random) -> None:
        self._server, self._now, self._rng = server, now, rng
        self._open: dict[Watch, None] = {}

    def close(self) -> None:
        """Ends every stream in good order."""
        for watch in list(self._open):
            watch.close()

    async def stream(
        self, request: web.Request, resource: Resource, namespace: str, shape: Shape
    ) -> web.StreamResponse:
        query = request.query
        asked_s = queries.number(query, "timeoutSeconds")
        timeout_s = asked_s if asked_s else TIMEOUT_S * self._rng.uniform(1, 2)
        if len(self._open) >= WATCHES_MAX:
            raise StatusError(429, "TooManyRequests", f"more than {WATCHES_MAX} watches are open: try again later")
        bookmarks = queries.flag(query, "allowWatchBookmarks")
        watch = self._server.watch(
            resource,
            namespace,
            resource_version=query.get("resourceVersion", ""),
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            bookmarks=bookmarks,
            send_initial_events=queries.flag(query, "sendInitialEvents"),
        )
        self._open[watch] = None
        try:
            response = web.StreamResponse(headers=NO_SNIFF)
            response.content_type = JSON_TYPE
            response.enable_chunked_encoding()
            await response.prepare(request)
            ends_s = anyio.current_time() + min(timeout_s, TIMEOUT_MAX_S)
            writer = EventWriter(resource, shape, query.get("includeObject", "Metadata"), self._now)
            async for events in watch_events(watch, ends_s, bookmarks=bookmarks):
                await response.write(b"".join(writer.line(event) for event in events))
            await response.write_eof()
            return response
        finally:
            self._open.pop(watch, None)
            watch.close()


class EventWriter:
    """Events as lines in the shape that was asked for; only the first table carries the column definitions."""

    def __init__(self, resource: Resource, shape: Shape, include: str, now: Clock) -> None:
        self._resource, self._shape, self._include, self._now = resource, shape, include, now
        self._has_header = True

    def line(self, event: Event) -> bytes:
        type_, obj = event
        shown: Any = obj if type_ == "ERROR" or not self._shape.as_ else self._shaped(type_, obj)
        return encode({"type": type_, "object": shown}) + b"\n"

    def _shaped(self, type_: str, obj: Json) -> Json:
        version = self._shape.api_version
        if self._shape.as_ != "Table":
            return as_partial(obj, version)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        rows = [] if type_ == "BOOKMARK" else [obj]
        has_header, self._has_header = self._has_header, False
        return as_table(
            self._resource, rows, version, self._now(), metadata=metadata, include=self._include, has_header=has_header
        )
