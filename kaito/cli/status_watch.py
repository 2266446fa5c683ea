"""`kaito status -w`: the table, kept up by a watch; ages go on by themselves. It fits the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import open_client
from kaito.cli.status import NO_CRDS
from kaito.kube.client import Scope
from kaito.kube.errors import NotFound
from kaito.state.events import WatchEvent
from kaito.state.kinds import KINDS, KindRow
from kaito.state.store import Store
from kaito.watchers.stream import Stream

REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class _Body:
    """A root as it was sent, with its identity for the store."""

    ref: ObjectRef
    raw: Json


def _row(kind: ResourceKind) -> KindRow:
    def body(raw: Json) -> _Body:
        metadata = raw.get("metadata") or {}
        ref = kind.ref(str(metadata.get("namespace", "")), str(metadata.get("name", "")))
        return _Body(ref, raw | {"kind": kind.kind})

    return replace(next(row for row in KINDS if row.kind == kind), decode=body)


ROWS = tuple(_row(kind) for kind in (WORKSPACE, RAGENGINE))


async def follow(kubeconfig: Path, namespace: str, render: Callable[[Sequence[Json]], list[str]]) -> int:
    """Shows the table until cancelled. On no terminal it is printed again whenever it changes."""
    console, changed = Console(highlight=False), anyio.Event()
    stores = {row.kind: Store() for row in ROWS}
    trouble = ""

    def on_event(store: Store, event: WatchEvent) -> None:
        nonlocal trouble
        trouble = ""
        store.receive(event)
        changed.set()

    def on_absent(kind: ResourceKind) -> None:
        del stores[kind]
        changed.set()

    def on_trouble(_: Any, error: Exception) -> None:
        nonlocal trouble
        trouble = f"the API server does not answer: {error}"
        changed.set()

    client = await open_client(kubeconfig)
    try:
        async with anyio.create_task_group() as tasks:
            for row in ROWS:
                heard = partial(on_event, stores[row.kind])
                scope = Scope(namespace)
                stream = Stream(client, row, heard, rng=Random(), scope=scope, on_trouble=on_trouble)
                tasks.start_soon(_run, stream, row.kind, on_absent)
            with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
                shown: list[str] = []
                while True:
                    is_synced = all(store.is_synced for store in stores.values())
                    bodies = [body.raw for store in stores.values() for _, body in store.items()]
                    lines = render(bodies) if is_synced else ["listing …"]
                    lines = fitting([*([trouble] if trouble else []), *lines], console)
                    if console.is_terminal:
                        live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
                    elif lines != shown and is_synced:
                        console.print("\n".join(lines), soft_wrap=True)
                    shown, changed = lines, anyio.Event()
                    with anyio.move_on_after(REFRESH_S if console.is_terminal else None):
                        await changed.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    return 0


async def _run(stream: Stream, kind: ResourceKind, on_absent: Callable[[ResourceKind], None]) -> None:
    try:
        await stream.run()
    except NotFound as error:
        if kind == WORKSPACE:
            raise ValueError(NO_CRDS) from error
        on_absent(kind)  # a cluster need not have the others


def fitting(lines: Sequence[str], console: Console) -> list[str]:
    """No more lines than the terminal has; what does not fit is counted."""
    room = console.height - 1
    if not console.is_terminal or len(lines) <= room:
        return list(lines)
    return [*lines[: room - 1], f"… and {len(lines) - room + 1} more"]
