"""Faulty: a KubeClient between one replica and the API server that fails, lingers and lies, by the fault classes F2-F9.

Every strike is counted by its class. What needs the server itself to misbehave (compaction, F4) is done to the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import anyio
import msgspec

from kaito.api.core import LEASE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube.client import ALL, Scope
from kaito.kube.errors import AlreadyExists, ApiError, Conflict, ServerError, Throttled, Unreachable
from kaito.local.client import LocalClient
from kaito.watchers.frames import LINE_BYTES_MAX

RATE = 0.15
FIRST_RATE = 0.8  # until a class has struck once: a storm must hold them all
PAGE_OBJECTS = 2  # so that even a small cluster is listed in several pages
CLASSES = ("F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9")
ODD_LINES = (
    b"{not json\n",
    b'{"type":"ERROR","object":{"code":410}}\n',
    b'{"type":"ERROR","object":{"code":500}}\n',
)
HUGE = b"x" * (LINE_BYTES_MAX + 1)


class Faulty:
    """`is_partitioned`: no request and no event gets through until it is false again (F13). `silences_due`: so many
    streams fall silent (F5), each the next that has something to say."""

    def __init__(self, server: LocalClient, rng: Random, *, wrote: Callable[[str, ObjectRef], None]) -> None:
        self._server, self._rng, self._wrote = server, rng, wrote
        self.is_faulty, self.is_partitioned = False, False
        self.silences_due = 0
        self.only: set[str] | None = None  # None: every class strikes
        self.strikes: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def strikes_now(self, fault: str, rate: float = RATE) -> bool:
        chance = rate if self.strikes[fault] else max(rate, FIRST_RATE)
        is_on = self.is_faulty and (self.only is None or fault in self.only)
        does = is_on and self._rng.random() < chance
        self.strikes[fault] += does
        return does

    # Requests.

    async def _request(self, kind: ResourceKind, send: Callable[[], Awaitable[Any]], *, is_write: bool) -> Any:
        if self.is_partitioned:
            await anyio.sleep(self._rng.uniform(1, 30))
            raise Unreachable("no route to host")
        if kind == LEASE:
            return await send()
        if self.strikes_now("F7"):
            await anyio.sleep(self._rng.uniform(0, 30))
        if self.strikes_now("F7"):
            raise self._trouble()
        if is_write and self.strikes_now("F8", RATE / 2):
            raise Conflict("the object has been modified")
        answer = await send()
        if self.is_partitioned or self.strikes_now("F9", RATE / 2):
            raise Unreachable("the answer was lost")  # it was carried out all the same
        return answer

    def _trouble(self) -> ApiError:
        return self._rng.choice(
            [
                Throttled("slow down", retry_after_s=self._rng.uniform(0, 5)),
                ServerError("etcd has no leader", code=503),
                ServerError("gateway timeout", code=504),
                Unreachable("connection reset"),
            ]
        )

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        found: Json = await self._request(kind, lambda: self._server.read(kind, ref), is_write=False)
        return found

    async def create(self, kind: ResourceKind, namespace: str, body: Json, **more: Any) -> Json:
        async def send() -> Json:
            made = await self._server.create(kind, namespace, body, **more)
            self._wrote("create", kind.ref(namespace, made["metadata"]["name"]))
            return made

        created: Json = await self._request(kind, send, is_write=False)
        if self.strikes_now("F8", RATE / 2):
            raise AlreadyExists("a proxy sent the request twice")
        return created

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        return await self._change("apply", kind, ref, lambda: self._server.apply(kind, ref, body))

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, **more: Any) -> Json:
        return await self._change("patch", kind, ref, lambda: self._server.merge_patch(kind, ref, patch, **more))

    async def delete(self, kind: ResourceKind, ref: ObjectRef, **more: Any) -> None:
        await self._change("delete", kind, ref, lambda: self._server.delete(kind, ref, **more))

    async def _change(self, verb: str, kind: ResourceKind, ref: ObjectRef, send: Callable[[], Awaitable[Any]]) -> Any:
        async def noted() -> Any:
            answer = await send()
            self._wrote(verb, ref)
            return answer

        return await self._request(kind, noted, is_write=True)

    # Lists and watches.

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        limit = PAGE_OBJECTS if self.is_faulty and not self.only else limit
        if continue_ and self.strikes_now("F4", 0.3 if self.strikes["F4"] else 1.0):
            # Something else changed meanwhile, and the version of the first page is compacted: a real 410 follows.
            self._server.server.store.compact(self._server.server.store.version)
        page: bytes = await self._request(
            kind, lambda: self._server.list_page(kind, scope, limit=limit, continue_=continue_), is_write=False
        )
        return page

    def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._watch(kind, scope, resource_version, timeout_s)

    @asynccontextmanager
    async def _watch(
        self, kind: ResourceKind, scope: Scope, version: str, timeout_s: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async def nothing() -> None:
            await anyio.lowlevel.checkpoint()

        await self._request(kind, nothing, is_write=False)
        async with self._server.open_watch(kind, scope, resource_version=version, timeout_s=timeout_s) as chunks:
            yield self._spoiled(chunks)

    async def _spoiled(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            while self.is_partitioned:  # noqa: ASYNC110 (virtual time; TCP holds what was sent)
                await anyio.sleep(1)
            if self.is_faulty and self.silences_due:
                self.silences_due -= 1
                self.strikes["F5"] += 1
                await anyio.sleep_forever()  # TCP is up, and nothing comes any more
            if self.strikes_now("F2"):
                await anyio.sleep(self._rng.uniform(0, 60))
            if self.strikes_now("F3"):
                chunk = self._rng.choice([chunk + chunk, _coalesced(chunk)])
            if self.strikes_now("F6", RATE / 2):
                yield self._odd_line()
            if self.strikes_now("F7", RATE / 2):
                raise Unreachable("connection reset")
            cut = self._rng.randrange(len(chunk))
            yield chunk[:cut]
            yield chunk[cut:]

    def _odd_line(self) -> bytes:
        if self._rng.random() < 0.05:
            return HUGE
        return self._rng.choice(ODD_LINES)


def _coalesced(chunk: bytes) -> bytes:
    """Only the last of the events of each object: an API server under load shows no more than that."""
    last: dict[str, bytes] = {}
    for line in chunk.splitlines(keepends=True):
        uid = str(msgspec.json.decode(line)["object"]["metadata"].get("uid"))
        last.pop(uid, None)
        last[uid] = line
    return b"".join(last.values())
