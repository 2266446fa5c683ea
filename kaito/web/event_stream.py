"""An answer of server-sent events, written straight to the connection.

aiohttp's own `write` is a coroutine a chunk: with hundreds of streams it costs more than the system call. Here a write
is a plain call that frames the chunk (HTTP/1.1) and hands it to the transport; a reader that falls too far behind is
dropped. The head goes out with the first event.
"""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from kaito.web import sse
from kaito.web.answers import head


class ReaderTooSlow(ConnectionResetError):
    """The client reads slower than the answer comes, by more than the bound."""


class EventStream(web.StreamResponse):
    """Any number of `write`, then `close`; the handler returns it."""

    __slots__ = ("_buffer_bytes_max", "_head", "_is_chunked", "_is_last", "_transport")  # read once a token

    def __init__(self, request: web.BaseRequest, *, request_id: str, buffer_bytes_max: int) -> None:
        """Raises ConnectionResetError when the client is gone."""
        # The base's state is not made: none of it is used.
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport: asyncio.Transport = transport
        self._buffer_bytes_max = buffer_bytes_max
        self._is_chunked = request.version >= HttpVersion11
        self._is_last = not self._is_chunked or not request.keep_alive
        ending = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        closing = b"Connection: close\r\n" if self._is_last else b""
        self._head = head(200, sse.CONTENT_TYPE, sse.HEADERS, request_id) + ending + closing + b"\r\n"

    @property
    def status(self) -> int:
        return 200

    @property
    def prepared(self) -> bool:
        return True

    @property
    def keep_alive(self) -> bool:
        return not self._is_last

    def write(self, data: bytes) -> None:  # type: ignore[override]  # a plain call: see above
        """Raises ConnectionResetError when the client is gone or too slow."""
        transport = self._transport
        if not data:
            return
        if transport.is_closing():
            raise ConnectionResetError("the client is gone")
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data
        if self._head:
            framed, self._head = self._head + framed, b""
        transport.write(framed)
        if transport.get_write_buffer_size() > self._buffer_bytes_max:
            transport.abort()
            raise ReaderTooSlow(f"the client is more than {self._buffer_bytes_max} bytes behind")

    def close(self) -> None:
        """No further event."""
        if not self._transport.is_closing():
            self._transport.write(self._head + (b"0\r\n\r\n" if self._is_chunked else b""))
            self._head = b""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """It is written already."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """It has ended already."""
