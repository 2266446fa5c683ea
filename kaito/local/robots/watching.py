"""follow: one kind's list and watch as events. Objects stay whole: robots copy templates and patch what they read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple

import anyio

from kaito.api.meta import Json, ObjectRef, ResourceKind, ResourceVersion
from kaito.kube.client import ALL, KubeClient, Scope
from kaito.kube.errors import NotFound
from kaito.state.edges import no_edges
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent
from kaito.state.kinds import KindRow
from kaito.watchers.stream import Stream

ABSENT_RETRY_S = 2.0  # a kind whose CRD is not installed yet

Sink = Callable[[ResourceKind, WatchEvent], None]


class Whole(NamedTuple):
    """An object as the server sent it."""

    ref: ObjectRef
    body: Json


async def follow(client: KubeClient, kind: ResourceKind, sink: Sink, *, rng: Random, scope: Scope = ALL) -> None:
    """Feeds the sink for ever, with the operator's own watch stream."""
    row = KindRow(kind, wire=dict[str, Any], edges=no_edges, decode=partial(_whole, kind))
    stream = Stream(client, row, lambda event: sink(kind, _unwrapped(event)), rng=rng, scope=scope)
    while True:
        try:
            await stream.run()
        except NotFound:
            # No such kind: known to be empty, so that the robots need not wait for it.
            sink(kind, Init())
            sink(kind, InitDone(ResourceVersion("")))
            await anyio.sleep(ABSENT_RETRY_S)


def _whole(kind: ResourceKind, body: Json) -> Whole:
    return Whole(ref_of(kind, body), body)


def _unwrapped(event: WatchEvent) -> WatchEvent:
    match event:
        case InitApply(ref, Whole(_, body)):
            return InitApply(ref, body)
        case Apply(ref, Whole(_, body)):
            return Apply(ref, body)
        case Delete(ref, Whole(_, body)):
            return Delete(ref, body)
        case _:
            return event


def ref_of(kind: ResourceKind, obj: Json) -> ObjectRef:
    return kind.ref(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
