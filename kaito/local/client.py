"""LocalClient: the KubeClient protocol over the API server core, in process. On asyncio and on trio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.lowlevel
import msgspec

from kaito.api.crds import crds, node_claim_crd, node_pool_crd
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import Clock
from kaito.kube import errors as kube
from kaito.kube.client import ALL, FIELD_MANAGER, Discovery, Scope
from kaito.local.admission import admission
from kaito.local.apiserver import APPLY_PATCH, MERGE_PATCH, Admit, ApiServer, Commit, Resource, StatusError, Watch
from kaito.local.apiserver.errors import internal
from kaito.local.persist import Change, Key, NotWritten, State
from kaito.local.watching import watch_events
from kaito.settings import PlanSettings

ERRORS: dict[int, type[kube.ApiError]] = {
    400: kube.BadRequest, 401: kube.Unauthorized, 403: kube.Forbidden, 404: kube.NotFound, 409: kube.Conflict,
    410: kube.Gone, 422: kube.Invalid, 429: kube.Throttled,
}  # fmt: skip
T = TypeVar("T")

ReadLog = Callable[..., Awaitable[str]]  # (ref, container=, tail_lines=, bytes_max=, previous=)


class LocalClient:
    """`manager`: under which name it writes. `read_log` answers for the kubelet."""

    def __init__(self, server: ApiServer, *, read_log: ReadLog | None = None, manager: str = FIELD_MANAGER) -> None:
        self.server = server
        self.log_source = read_log
        self._manager = manager
        self._is_closed = False
        self._open: dict[Watch, None] = {}

    async def discover(self) -> Discovery:
        await self._turn()
        served = frozenset((item.group, item.version, item.plural) for item in self.server.registry.all())
        return Discovery(*self.server.emulate, served)

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        await self._turn()
        return msgspec.json.encode(
            self._call(
                lambda resource: self.server.list(
                    resource,
                    scope.namespace,
                    label_selector=scope.label_selector,
                    field_selector=scope.field_selector,
                    limit=limit,
                    continue_=continue_,
                ),
                kind,
            )
        )

    @asynccontextmanager
    async def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._turn()
        watch: Watch = self._call(
            lambda resource: self.server.watch(
                resource,
                scope.namespace,
                resource_version=resource_version,
                label_selector=scope.label_selector,
                field_selector=scope.field_selector,
                bookmarks=True,
            ),
            kind,
        )
        self._open[watch] = None
        try:
            yield _chunks(watch, anyio.current_time() + timeout_s)
        finally:
            self._open.pop(watch, None)
            watch.close()

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        await self._turn()
        return self._call(lambda resource: self.server.get(resource, *_at(kind, ref)), kind)

    async def create(
        self, kind: ResourceKind, namespace: str, body: Json, *, subresource: str = "", name: str = ""
    ) -> Json:
        await self._turn()
        at = namespace if kind.namespaced else ""
        return self._call(
            lambda resource: self.server.create(
                resource, at, body, name=name, subresource=subresource, field_manager=self._manager
            ),
            kind,
        )

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        await self._turn()
        return self._call(
            lambda resource: self.server.patch(
                resource, *_at(kind, ref), body, APPLY_PATCH, field_manager=self._manager, force=True
            ),
            kind,
        )

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, *, subresource: str = "") -> Json:
        await self._turn()
        return self._call(
            lambda resource: self.server.patch(
                resource, *_at(kind, ref), patch, MERGE_PATCH, subresource=subresource, field_manager=self._manager
            ),
            kind,
        )

    async def delete(
        self,
        kind: ResourceKind,
        ref: ObjectRef,
        *,
        uid: str,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        await self._turn()
        options: Json = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        self._call(lambda resource: self.server.delete(resource, *_at(kind, ref), options), kind)

    async def read_log(
        self, ref: ObjectRef, *, container: str, tail_lines: int, bytes_max: int = 1 << 20, previous: bool = False
    ) -> str:
        await self._turn()
        pods = ResourceKind("", "v1", "Pod", "pods", True)
        self._call(lambda resource: self.server.get(resource, ref.namespace, ref.name), pods)
        if self.log_source is None:
            raise kube.BadRequest(
                f'container "{container}" in pod "{ref.name}" is waiting to start: no kubelet runs here'
            )
        return await self.log_source(
            ref, container=container, tail_lines=tail_lines, bytes_max=bytes_max, previous=previous
        )

    async def aclose(self) -> None:
        self._is_closed = True
        for watch in list(self._open):
            watch.close()
        await anyio.lowlevel.checkpoint()

    async def _turn(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self._is_closed:
            raise kube.Unreachable("the client is closed")

    def _call(self, call: Callable[[Resource], T], kind: ResourceKind) -> T:
        try:
            return call(self.server.registry.find(kind.group, kind.version, kind.plural))
        except StatusError as error:
            raise api_error(error) from error


def _at(kind: ResourceKind, ref: ObjectRef) -> tuple[str, str]:
    return (ref.namespace if kind.namespaced else "", ref.name)


def api_error(error: StatusError) -> kube.ApiError:
    """The error of the seam for a Status."""
    found = kube.AlreadyExists if error.reason == "AlreadyExists" else ERRORS.get(error.code, kube.ServerError)
    if error.code == 500 and "failed to create typed patch object" in error.message:
        found = kube.Invalid  # sending the same again is pointless
    return found(error.message, reason=error.reason, code=error.code)


async def _chunks(watch: Watch, ends_s: float) -> AsyncIterator[bytes]:
    async for events in watch_events(watch, ends_s):
        yield b"".join(msgspec.json.encode({"type": type_, "object": obj}) + b"\n" for type_, obj in events)


def open_core(
    state: State,
    record: Callable[[list[Change]], None],
    *,
    now: Clock,
    new_uid: Callable[[], str],
    emulate: tuple[int, int] = (1, 36),
    admit: Sequence[Admit] = (),
    schemas: Callable[[Resource], Json | None] = lambda _: None,
    settings: PlanSettings | None = None,
) -> LocalClient:
    """An API server that goes on from this state, with our CRDs; every change is recorded before it is seen.

    `settings` are those of the operator beside it: its validation rules are asked under them.

    Unlike a real one it takes Endpoints on loopback: that is where our pods listen.
    """
    rules = admission(lambda: server, settings or PlanSettings())
    server = ApiServer(
        now=now,
        new_uid=new_uid,
        emulate=emulate,
        admit=(*admit, rules),
        schemas=schemas,
        has_loopback_endpoints=True,
    )
    server.load(state.version, state.objects.values())
    server.on_commit = lambda commit: _record(record, _change(server, commit))
    server.start()
    definitions = server.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    for crd in (*crds().values(), node_claim_crd(), node_pool_crd()):
        name = crd["metadata"]["name"]
        server.patch(definitions, "", name, crd, APPLY_PATCH, field_manager="kaito-local", force=True)
    return LocalClient(server)


def _record(record: Callable[[list[Change]], None], change: Change) -> None:
    """Raises StatusError: what is not on disk has not happened, and whoever asked for it may try again."""
    try:
        record([change])
    except NotWritten as error:
        raise internal(str(error)) from error


def _change(server: ApiServer, commit: Commit) -> Change:
    obj = commit.new or commit.old
    assert obj is not None
    return Change(commit.version, Key(commit.kind[0], obj["kind"], *commit.place), commit.new)
