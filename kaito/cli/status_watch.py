"""`kaito status -w`: the table, kept up by watches; ages go on by themselves. It fits any terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.cli.clients import open_client
from kaito.cli.status import KINDS, NOT_INSTALLED
from kaito.kube.client import Scope
from kaito.kube.errors import NotFound
from kaito.state.events import WatchEvent
from kaito.state.kinds import KINDS as WATCHED
from kaito.state.kinds import KindRow
from kaito.state.store import Store
from kaito.watchers.stream import Stream

REFRESH_S = 1.0
Render = Callable[[Sequence[Json], int | None], list[str]]


@dataclass(frozen=True, slots=True)
class _Body:
    """A root as it was sent, with its identity for the store."""

    ref: ObjectRef
    raw: Json


def _row(kind: ResourceKind) -> KindRow:
    def body(raw: Json) -> _Body:
        metadata = raw.get("metadata") or {}
        ref = kind.ref(str(metadata.get("namespace", "")), str(metadata.get("name", "")))
        return _Body(ref, {**raw, "kind": kind.kind})

    return replace(next(row for row in WATCHED if row.kind == kind), decode=body)


class Roots:
    """What the watches have told so far. A kind that the cluster does not have counts as listed, and empty."""

    def __init__(self) -> None:
        self.changed = anyio.Event()
        self.trouble = ""
        self._stores = {kind: Store() for kind in KINDS}
        self._absent: set[ResourceKind] = set()

    @property
    def is_listed(self) -> bool:
        return all(store.is_synced or kind in self._absent for kind, store in self._stores.items())

    def bodies(self) -> list[Json]:
        return [body.raw for store in self._stores.values() for _, body in store.items()]

    def hear(self, kind: ResourceKind, event: WatchEvent) -> None:
        self.trouble = ""
        self._stores[kind].receive(event)
        self.changed.set()

    def heed_trouble(self, error: Exception) -> None:
        self.trouble = f"the API server does not answer: {error}"
        self.changed.set()

    def miss(self, kind: ResourceKind) -> None:
        """Raises ValueError when the cluster has none of the kinds."""
        self._absent.add(kind)
        if len(self._absent) == len(self._stores):
            raise ValueError(NOT_INSTALLED)
        self.changed.set()


async def follow(kubeconfig: Path, namespace: str, render: Render) -> int:
    """Shows the table until cancelled. On no terminal it is printed again whenever it changes."""
    console, roots = Console(highlight=False), Roots()
    client = await open_client(kubeconfig)
    try:
        async with anyio.create_task_group() as tasks:
            for kind in KINDS:
                tasks.start_soon(_hear, client, kind, namespace, roots)
            with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
                await _show(console, live, roots, render)
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    return 0


async def _hear(client: Any, kind: ResourceKind, namespace: str, roots: Roots) -> None:
    stream = Stream(
        client,
        _row(kind),
        lambda event: roots.hear(kind, event),
        rng=Random(),
        scope=Scope(namespace),
        on_trouble=lambda _row, error: roots.heed_trouble(error),
    )
    try:
        await stream.run()
    except NotFound:
        roots.miss(kind)


async def _show(console: Console, live: Live, roots: Roots, render: Render) -> None:
    shown: list[str] = []
    while True:
        width = console.width if console.is_terminal else None
        lines = render(roots.bodies(), width) if roots.is_listed else ["listing …"]
        lines = fitting([*([roots.trouble] if roots.trouble else []), *lines], console)
        if console.is_terminal:
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif lines != shown and roots.is_listed:
            console.print("\n".join(lines), soft_wrap=True)
        shown, roots.changed = lines, anyio.Event()
        with anyio.move_on_after(REFRESH_S if console.is_terminal else None):
            await roots.changed.wait()


def fitting(lines: Sequence[str], console: Console) -> list[str]:
    """No more lines than the terminal has; what does not fit is counted."""
    room = max(1, console.height - 1)
    if not console.is_terminal or len(lines) <= room:
        return list(lines)
    return [*lines[: room - 1], f"… and {len(lines) - room + 1} more"]
