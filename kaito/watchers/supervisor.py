"""Supervisor: one stream per row of KINDS, kinds that come and go with their CRDs, objects watched by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Protocol

import anyio
import anyio.abc

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, CustomResourceDefinition
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.backoff import Backoff
from kaito.kube.client import Discovery, KubeClient, Scope
from kaito.kube.errors import ApiError, NotFound
from kaito.state.events import Apply, Delete, InitApply, InitDone, WatchEvent
from kaito.state.kinds import KindRow
from kaito.watchers.stream import RETRY_S, Stream

REDISCOVERY_S = 30.0  # a kind that vanished without a CRD event, e.g. while the CRD watch was down


class World(Protocol):
    """Where the events go. Every method is synchronous."""

    def discovered(self, discovery: Discovery) -> None: ...

    def receive(self, kind: ResourceKind, event: WatchEvent, *, list_began_s: float) -> None: ...

    def receive_named(self, kind: ResourceKind, ref: ObjectRef, obj: object | None) -> None: ...

    def unreferenced(self, kind: ResourceKind, ref: ObjectRef) -> None: ...

    def absent(self, kind: ResourceKind) -> None: ...

    def referenced(self) -> frozenset[ObjectRef]:
        """The objects to watch by name; the very same set until that changes."""
        ...


class Supervisor:
    """Law: a kind is absent only when discovery succeeded without it; a failed discovery changes nothing."""

    def __init__(
        self,
        client: KubeClient,
        rows: Iterable[KindRow],
        world: World,
        *,
        rng: Random,
        on_trouble: Callable[[KindRow, Exception], None] = lambda _row, _error: None,
    ) -> None:
        self._client, self._world, self._rng, self._on_trouble = client, world, rng, on_trouble
        self._rows = tuple(rows)
        self._by_name = {row.kind.kind: row for row in self._rows if row.by_name}
        self._custom = {(row.kind.group, row.kind.plural) for row in self._rows if "." in row.kind.group}
        self._streams: dict[ResourceKind, Stream] = {}
        self._scopes: dict[ResourceKind, anyio.CancelScope] = {}
        self._named: dict[ObjectRef, anyio.CancelScope] = {}
        self._wanted: frozenset[ObjectRef] | None = None  # what _named was settled for
        self._changed = anyio.Event()
        self._is_stale = False  # what is served may have changed: discover again

    def ages_s(self, now_s: float) -> dict[str, float]:
        """Seconds since each kind was last heard of, by plural; kinds that never were are left out."""
        heard = {kind.plural: stream.last_heard_s for kind, stream in self._streams.items()}
        return {plural: now_s - last_s for plural, last_s in heard.items() if last_s is not None}

    def look_again(self) -> None:
        """References or CRDs may have changed."""
        self._changed.set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs the streams for ever."""
        backoff = Backoff(*RETRY_S, self._rng)
        needs_discovery = True
        async with anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                self._changed = anyio.Event()
                if needs_discovery:
                    try:
                        discovery = await self._client.discover()
                    except ApiError as error:
                        self._on_trouble(self._rows[0], error)
                        await anyio.sleep(backoff.next_s())
                        continue
                    backoff.reset()
                    self._settle(discovery, tasks)
                self._settle_named(tasks)
                with anyio.move_on_after(REDISCOVERY_S if self._absent() else None):
                    await self._changed.wait()
                needs_discovery = bool(self._absent()) or self._is_stale
                self._is_stale = False

    def _absent(self) -> list[KindRow]:
        return [row for row in self._rows if not row.by_name and row.kind not in self._scopes]

    def _settle(self, discovery: Discovery, tasks: anyio.abc.TaskGroup) -> None:
        """Starts streams of kinds that are served now, ends those of kinds that are not."""
        self._world.discovered(discovery)
        for row in self._rows:
            if row.by_name:
                continue
            served_as, is_running = row.served_as(discovery.has), row.kind in self._scopes
            is_served = served_as is not None
            if served_as is not None and not is_running:
                self._scopes[row.kind] = anyio.CancelScope()
                tasks.start_soon(self._follow, row, served_as, name=f"watch {row.kind.plural}")
            elif not is_served and is_running:
                self._scopes.pop(row.kind).cancel()
            if not is_served:
                self._world.absent(row.kind)

    async def _follow(self, row: KindRow, served_as: ResourceKind) -> None:
        kind = row.kind

        def receive(event: WatchEvent) -> None:
            self._world.receive(kind, event, list_began_s=stream.list_began_s)
            if kind == CUSTOM_RESOURCE_DEFINITION:
                self._heed(event)
            if row.is_root and self._by_name:
                self.look_again()

        scope = Scope(label_selector=row.label_selector)
        asked = replace(row, kind=served_as)
        stream = Stream(self._client, asked, receive, rng=self._rng, scope=scope, on_trouble=self._on_trouble)
        self._streams[kind] = stream
        own = self._scopes[kind]
        with own:
            try:
                await stream.run()
            except NotFound:
                if self._scopes.get(kind) is own:
                    del self._scopes[kind]
                self._is_stale = True
                self.look_again()
        if self._streams.get(kind) is stream:
            del self._streams[kind]

    def _heed(self, event: WatchEvent) -> None:
        """A CRD of a kind of ours came, went or changed: discover again."""
        match event:
            case Apply(_, crd) | Delete(_, crd) if isinstance(crd, CustomResourceDefinition):
                if (crd.spec.group, crd.spec.names.plural) in self._custom:
                    self._is_stale = True
                    self.look_again()
            case _:
                pass

    # Objects watched by name.

    def _settle_named(self, tasks: anyio.abc.TaskGroup) -> None:
        wanted = self._world.referenced() if self._by_name else frozenset()
        if wanted is self._wanted:
            return
        self._wanted = wanted
        for ref in sorted(wanted - set(self._named)):
            self._named[ref] = anyio.CancelScope()
            tasks.start_soon(self._follow_named, self._by_name[ref.kind], ref, name=f"watch {ref}")
        for ref in sorted(set(self._named) - wanted):
            self._named.pop(ref).cancel()
            self._world.unreferenced(self._by_name[ref.kind].kind, ref)

    async def _follow_named(self, row: KindRow, ref: ObjectRef) -> None:
        found: object | None = None

        def receive(event: WatchEvent) -> None:
            nonlocal found
            match event:
                case InitApply(_, obj):
                    found = obj
                case InitDone():
                    self._world.receive_named(row.kind, ref, found)
                    found = None
                case Apply(_, obj):
                    self._world.receive_named(row.kind, ref, obj)
                case Delete():
                    self._world.receive_named(row.kind, ref, None)
                case _:
                    found = None

        scope = Scope(namespace=ref.namespace, field_selector=f"metadata.name={ref.name}")
        stream = Stream(self._client, row, receive, rng=self._rng, scope=scope, on_trouble=self._on_trouble)
        with self._named[ref]:
            await stream.run()
