"""watch_events: a watch of the core as an asynchronous stream, with bookmarks, for as long as asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from kaito.local.apiserver.watch import Event, Watch

BOOKMARK_S = 60.0  # as the real server's watch cache


async def watch_events(watch: Watch, ends_s: float, *, bookmarks: bool = True) -> AsyncIterator[list[Event]]:
    """All that has come since the last look; ends at the monotonic second, or when the watch is closed."""
    wake = anyio.Event()

    def on_event() -> None:
        wake.set()

    watch.on_event(on_event)
    bookmark_s = anyio.current_time() + BOOKMARK_S if bookmarks else float("inf")
    while True:
        if events := watch.take():
            yield events
            continue
        now_s = anyio.current_time()
        if watch.closed or now_s >= ends_s:
            return
        if now_s >= bookmark_s:
            bookmark_s = now_s + BOOKMARK_S
            watch.add_bookmark()
            continue
        wake = anyio.Event()
        with anyio.move_on_after(min(bookmark_s, ends_s) - now_s):
            await wake.wait()
