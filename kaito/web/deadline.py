"""A bound on the time of every request: asyncio.timeout's work at a tenth of its cost, for equal bounds and no nesting.

As the bound is the same for all, requests pass it in the order in which they came: one timer, for the first, is enough.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kaito.web.openai.errors import ApiError


class Deadline:
    """One request's: its task is cancelled unless `end` comes first."""

    __slots__ = ("_deadlines", "has_passed", "passes_at", "task")

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[Any], passes_at: float) -> None:
        self._deadlines, self.task, self.passes_at = deadlines, task, passes_at
        self.has_passed = False

    def end(self) -> None:
        self._deadlines.open.pop(self, None)

    def error(self) -> ApiError:
        """For `except CancelledError`: the error to answer with; raises on where somebody else cancelled."""
        if not self.has_passed or self.task.uncancel() > 0:
            raise  # noqa: PLE0704 (the cancellation that is being handled)
        text = f"The answer took longer than {self._deadlines.timeout_s:g} s."
        return ApiError(504, text, type="server_error", code="timeout")


class Deadlines:
    """All requests' of one bound."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.open: dict[Deadline, None] = {}  # in the order in which they pass
        self._is_timed = False

    def begin(self) -> Deadline:
        """For the current task."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        found = Deadline(self, task, loop.time() + self.timeout_s)
        self.open[found] = None
        if not self._is_timed:
            self._is_timed = True
            loop.call_later(self.timeout_s, self._look, loop)
        return found

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels what has passed; again when the next one does."""
        now = loop.time()
        while first := next(iter(self.open), None):
            if (left := first.passes_at - now) > 0:
                loop.call_later(left, self._look, loop)
                return
            del self.open[first]
            first.has_passed = True
            first.task.cancel()
        self._is_timed = False
