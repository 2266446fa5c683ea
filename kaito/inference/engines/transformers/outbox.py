"""From the engine's thread to the event loop: one wake-up for everything that is ready, one call a sink."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from kaito.inference.generation import Outcome, Sink


class Outbox:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._ready: dict[Sink, list[tuple[int, Outcome]]] = {}
        self._is_called = False

    def put(self, sink: Sink, index: int, outcome: Outcome) -> None:
        """From any thread. Delivered with the next flush."""
        with self._lock:
            self._ready.setdefault(sink, []).append((index, outcome))

    def flush(self) -> None:
        with self._lock:
            if not self._ready or self._is_called:
                return
            self._is_called = True
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, {}
            self._is_called = False
        for sink, outcomes in ready.items():
            sink(outcomes)
