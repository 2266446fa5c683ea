"""An answer of server-sent events, written straight to the connection.

aiohttp's own `write` is a coroutine a chunk: with hundreds of streams it costs more than the system call. Here a write
is a plain call that frames the chunk (HTTP/1.1) and hands it to the transport; a reader that falls too far behind is
dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from kaito.web import sse


class ReaderTooSlow(ConnectionResetError):
    """The client reads slower than the answer comes, by more than the bound."""


class EventStream:
    """`open`, any number of `write`, `close`."""

    def __init__(self, request: web.BaseRequest, *, headers: Mapping[str, str], buffer_bytes_max: int) -> None:
        self._request = request
        self._buffer_bytes_max = buffer_bytes_max
        self.response = web.StreamResponse(headers={**sse.HEADERS, **headers})
        self._is_chunked = request.version >= HttpVersion11
        self._transport: asyncio.Transport | None = None

    async def open(self) -> None:
        if self._is_chunked:
            self.response.enable_chunked_encoding()
        else:
            self.response.force_close()  # the end of the connection is the end of the answer
        writer = await self.response.prepare(self._request)
        assert isinstance(writer, AbstractStreamWriter)
        writer.send_headers()
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when the client is gone or too slow."""
        transport = self._transport
        if not data:
            return
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        if transport.get_write_buffer_size() > self._buffer_bytes_max:
            transport.abort()
            raise ReaderTooSlow(f"the client is more than {self._buffer_bytes_max} bytes behind")

    async def close(self) -> None:
        await self.response.write_eof()
