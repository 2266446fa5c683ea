"""Who may run now, who waits, who is told to come back. No I/O; the waiting itself is an asyncio future."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil

from kaito.web.openai.errors import overloaded

# An answer's duration until the first one has been seen.
ASSUMED_S = 2.0
SMOOTHING = 0.2


class Admission:
    """`slots` requests at a time, at most `queue_max` behind them, first come first served.

    A slot is held until the answer's last byte. A refused request is told how long the queue takes: what is running and
    waiting, times the usual duration, over the slots.
    """

    def __init__(self, slots: int, queue_max: int, on_refused: Callable[[], None]) -> None:
        assert slots > 0 and queue_max >= 0
        self.slots, self.queue_max = slots, queue_max
        self.running = 0
        self._on_refused = on_refused
        self._queue: deque[asyncio.Future[None]] = deque()
        self._usual_s = ASSUMED_S

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def retry_after_s(self) -> int:
        return max(1, ceil((self.running + self.waiting) / self.slots * self._usual_s))

    def try_enter(self) -> asyncio.Future[None] | None:
        """None: there is a slot, and it is taken. A future: wait for it. Raises ApiError (429)."""
        if self.running < self.slots and not self._queue:
            self.running += 1
            return None
        if self.waiting >= self.queue_max:
            self._on_refused()
            message = (
                f"The server is at its limit: {self.running} requests run (of {self.slots} slots) and {self.waiting} "
                f"wait (of at most {self.queue_max})."
            )
            raise overloaded(message, retry_after_s=self.retry_after_s())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        return turn

    def leave(self, took_s: float | None = None) -> None:
        """Gives the slot to the first who waits, or back. `took_s`: what the answer took."""
        if took_s is not None:
            self._usual_s += SMOOTHING * (took_s - self._usual_s)
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def give_up(self, turn: asyncio.Future[None]) -> None:
        """Who waited went away; a slot that was given to it meanwhile goes on."""
        if turn.done() and not turn.cancelled():
            self.leave()
            return
        turn.cancel()
        if turn in self._queue:
            self._queue.remove(turn)
