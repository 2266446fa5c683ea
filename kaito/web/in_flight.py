"""Requests that are being answered, so that a server can end when the last one has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Counts; `drained` waits for none."""

    def __init__(self) -> None:
        self.count = 0
        self.is_draining = False
        self._idle: asyncio.Event | None = None  # made by who waits for it

    def enter(self) -> None:
        self.count += 1

    def leave(self) -> None:
        self.count -= 1
        if self._idle is not None and not self.count:
            self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        self.enter()
        try:
            yield
        finally:
            self.leave()

    async def drained(self, grace_s: float) -> bool:
        """Turns readiness off and waits; whether all ended within the grace."""
        self.is_draining = True
        try:
            async with asyncio.timeout(grace_s):
                while self.count:
                    self._idle = asyncio.Event()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True
