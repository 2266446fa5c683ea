"""forward: bytes between two sockets until both sides have said all they have to say."""

from __future__ import annotations

import anyio
import anyio.abc

BROKEN = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)


async def forward(left: anyio.abc.SocketStream, right: anyio.abc.SocketStream) -> None:
    """Copies both ways. A side that ends its sending is passed on as such; a broken side ends both."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_copy, left, right, tasks.cancel_scope)
        tasks.start_soon(_copy, right, left, tasks.cancel_scope)


async def _copy(source: anyio.abc.SocketStream, target: anyio.abc.SocketStream, scope: anyio.CancelScope) -> None:
    try:
        async for data in source:
            await target.send(data)
        await target.send_eof()
    except BROKEN:
        scope.cancel()
