"""Streams on virtual time: silence is noticed, trouble is waited out, kinds come and go with their CRDs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, NODE
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.kube.client import ALL, Discovery, Scope
from kaito.kube.errors import NotFound, ServerError, Throttled
from kaito.state.events import WatchEvent
from kaito.state.graph import StateGraph
from kaito.state.kinds import KINDS
from kaito.watchers.stream import BOOKMARK_DEADLINE_S, Stream
from kaito.watchers.supervisor import Supervisor

ROWS = {row.kind: row for row in KINDS}


class Script:
    """A client whose lists are empty or given, and whose watches do what they are told, one after another."""

    def __init__(self) -> None:
        self.served = {row.kind for row in KINDS}
        self.items: dict[tuple[ResourceKind, str], list[Any]] = {}
        self.pages: list[bytes | Exception] = []
        self.watches: list[Callable[[], AsyncIterator[bytes]]] = []
        self.opened_s: list[float] = []
        self.discoveries: list[Exception] = []
        self.feeds: dict[ResourceKind, anyio.abc.ObjectSendStream[bytes]] = {}

    async def discover(self) -> Discovery:
        if self.discoveries:
            raise self.discoveries.pop(0)
        return Discovery(1, 36, frozenset((kind.group, kind.version, kind.plural) for kind in self.served))

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        await anyio.lowlevel.checkpoint()
        if kind not in self.served:
            raise NotFound(kind.plural)
        if self.pages:
            page = self.pages.pop(0)
            if isinstance(page, Exception):
                raise page
            return page
        found = self.items.get((kind, scope.field_selector), [])
        return json.dumps({"metadata": {"resourceVersion": "1"}, "items": found}).encode()

    @asynccontextmanager
    async def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened_s.append(anyio.current_time())
        if kind == NODE and self.watches:
            yield self.watches.pop(0)()
            return
        send, receive = anyio.create_memory_object_stream[bytes](100)
        self.feeds[kind] = send
        with send, receive:
            yield receive


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


def on_virtual_time(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=MockClock(autojump_threshold=0))


def test_silence_after_a_bookmark_is_noticed_within_its_deadline() -> None:
    async def scenario() -> None:
        script = Script()

        async def silent() -> AsyncIterator[bytes]:
            yield line("BOOKMARK", {"metadata": {"resourceVersion": "7"}})
            await anyio.sleep_forever()

        script.watches = [silent]
        stream = Stream(script, ROWS[NODE], lambda _: None, rng=Random(0))  # type: ignore[arg-type]
        with anyio.move_on_after(BOOKMARK_DEADLINE_S + 5):
            await stream.run()
        first_s, second_s = script.opened_s
        assert BOOKMARK_DEADLINE_S <= second_s - first_s <= BOOKMARK_DEADLINE_S + 1

    on_virtual_time(scenario)


def test_without_bookmarks_a_watch_may_be_silent_until_the_servers_timeout() -> None:
    async def scenario() -> None:
        script = Script()

        async def silent() -> AsyncIterator[bytes]:
            await anyio.sleep_forever()
            yield b""

        script.watches = [silent]
        stream = Stream(script, ROWS[NODE], lambda _: None, rng=Random(0))  # type: ignore[arg-type]
        with anyio.move_on_after(400):
            await stream.run()
        first_s, second_s = script.opened_s
        assert 240 <= second_s - first_s <= 320

    on_virtual_time(scenario)


def test_the_servers_wish_to_wait_is_honoured_and_trouble_is_told() -> None:
    async def scenario() -> None:
        script, told = Script(), []
        script.pages = [Throttled("slow down", retry_after_s=20), b"<html>", ServerError("no leader")]
        events: list[WatchEvent] = []
        stream = Stream(
            script,  # type: ignore[arg-type]
            ROWS[NODE],
            events.append,
            rng=Random(0),
            on_trouble=lambda _, error: told.append(type(error).__name__),
        )
        with anyio.move_on_after(60):
            await stream.run()
        assert told == ["Throttled", "Broken", "ServerError"]
        assert script.opened_s[0] >= 20
        assert [type(event).__name__ for event in events] == ["Init", "InitDone"]

    on_virtual_time(scenario)


class Heard:
    """A world that keeps a graph, as the operator does."""

    def __init__(self) -> None:
        self.graph = StateGraph(KINDS)

    def discovered(self, discovery: Discovery) -> None:
        pass

    def receive(self, kind: ResourceKind, event: WatchEvent, *, list_began_s: float) -> None:
        self.graph.apply(kind, event)

    def receive_named(self, kind: ResourceKind, ref: ObjectRef, obj: object | None) -> None:
        self.graph.apply_named(kind, ref, obj)

    def unreferenced(self, kind: ResourceKind, ref: ObjectRef) -> None:
        self.graph.forget_named(kind, ref)

    def absent(self, kind: ResourceKind) -> None:
        self.graph.mark_absent(kind)

    def referenced(self) -> frozenset[ObjectRef]:
        return self.graph.referenced()


def supervised(scenario: Callable[[Script, Heard], Awaitable[None]], script: Script) -> None:
    async def main() -> None:
        heard = Heard()
        supervisor = Supervisor(script, KINDS, heard, rng=Random(0))  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.run)
            await anyio.sleep(5)
            await scenario(script, heard)
            tasks.cancel_scope.cancel()

    on_virtual_time(main)


def test_a_kind_is_absent_only_after_a_discovery_that_succeeded() -> None:
    script = Script()
    script.served.discard(NODE_CLAIM)
    script.discoveries = [ServerError("half an answer")] * 5

    async def scenario(script: Script, heard: Heard) -> None:
        assert "nodeclaims" in heard.graph.missing() and not heard.graph.absent
        await anyio.sleep(60)
        assert heard.graph.absent == {NODE_CLAIM} and heard.graph.missing() == ()

    supervised(scenario, script)


@pytest.mark.parametrize("told", [True, False], ids=["by its CRD", "by looking again"])
def test_a_kind_that_appears_is_picked_up(told: bool) -> None:
    script = Script()
    script.served.discard(NODE_CLAIM)

    async def scenario(script: Script, heard: Heard) -> None:
        assert heard.graph.absent == {NODE_CLAIM}
        script.served.add(NODE_CLAIM)
        if told:
            crd = {"group": "karpenter.sh", "names": {"kind": "NodeClaim", "plural": "nodeclaims"}}
            metadata = {"name": "nodeclaims.karpenter.sh", "resourceVersion": "9"}
            script.feeds[CUSTOM_RESOURCE_DEFINITION].send_nowait(line("ADDED", {"metadata": metadata, "spec": crd}))
        await anyio.sleep(1 if told else 40)
        assert heard.graph.absent == set() and heard.graph.missing() == ()

    supervised(scenario, script)


def test_a_kind_that_goes_away_becomes_absent() -> None:
    async def scenario(script: Script, heard: Heard) -> None:
        assert heard.graph.absent == set()
        script.served.discard(NODE_CLAIM)
        script.feeds[NODE_CLAIM].send_nowait(line("ERROR", {"code": 410}))
        await anyio.sleep(5)
        assert heard.graph.absent == {NODE_CLAIM}

    supervised(scenario, Script())


def test_a_config_map_is_watched_by_name_while_a_workspace_refers_to_it() -> None:
    async def scenario(script: Script, heard: Heard) -> None:
        ref = CONFIG_MAP.ref("default", "conf")
        body = {
            "metadata": {"name": "phi", "namespace": "default", "resourceVersion": "2", "uid": "u"},
            "resource": {"labelSelector": {"matchLabels": {"a": "b"}}},
            "inference": {"preset": {"name": "phi-4"}, "config": "conf"},
        }
        found = {"metadata": {"name": "conf", "namespace": "default", "resourceVersion": "1"}, "data": {"k": "v"}}
        script.items[CONFIG_MAP, "metadata.name=conf"] = [found]
        script.feeds[WORKSPACE].send_nowait(line("ADDED", body))
        await anyio.sleep(1)
        assert heard.graph.stores[CONFIG_MAP].get(ref).data == {"k": "v"}
        script.feeds[CONFIG_MAP].send_nowait(line("DELETED", found))
        await anyio.sleep(1)
        assert heard.graph.stores[CONFIG_MAP].get(ref) is None and ref in heard.graph.looked_up
        script.feeds[CONFIG_MAP].send_nowait(line("ADDED", found))
        script.feeds[WORKSPACE].send_nowait(line("DELETED", body))
        await anyio.sleep(1)
        assert heard.graph.stores[CONFIG_MAP].get(ref) is None and ref not in heard.graph.looked_up

    supervised(scenario, Script())
