"""A bound on the time of a request: asyncio.timeout's work at a third of its cost, for one task and no nesting."""

from __future__ import annotations

import asyncio

from kaito.web.openai.errors import ApiError


class Deadline:
    """Cancels the current task after `timeout_s` unless `end` comes first."""

    __slots__ = ("_has_passed", "_task", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._timeout_s, self._has_passed = task, timeout_s, False
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._pass)

    def _pass(self) -> None:
        self._has_passed = True
        self._task.cancel()

    def end(self) -> None:
        self._timer.cancel()

    def error(self) -> ApiError:
        """For `except CancelledError`: the error to answer with; raises on where somebody else cancelled."""
        if not self._has_passed or self._task.uncancel() > 0:
            raise  # noqa: PLE0704 (the cancellation that is being handled)
        text = f"The answer took longer than {self._timeout_s:g} s."
        return ApiError(504, text, type="server_error", code="timeout")
