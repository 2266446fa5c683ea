"""run_until_signal: an asynchronous program that a signal ends in good order."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import anyio

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_signal(
    program: Callable[[], Awaitable[int]], *, told: Callable[[], None] | None = None
) -> tuple[int, bool]:
    """Runs the program on asyncio. Returns its exit status and whether a signal ended it.

    `told`: what the first signal does, for a program that then ends by itself; the second cancels it.

    Raises what the program raises: alone in its task groups, it comes out of them as it is.
    """
    try:
        return anyio.run(_run, program, told, backend="asyncio")
    except BaseExceptionGroup as group:
        raise _only(group) from group


def _only(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _run(program: Callable[[], Awaitable[int]], told: Callable[[], None] | None) -> tuple[int, bool]:
    status, was_told = 0, False
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                nonlocal was_told
                async for _ in signals:  # one that comes during the clean-up does not hurry it: it is bounded
                    if told is None or was_told:
                        work.cancel()
                    else:
                        told()
                    was_told = True

            with anyio.CancelScope() as work:
                tasks.start_soon(listen)
                status = await program()
            tasks.cancel_scope.cancel()
    return status, was_told
