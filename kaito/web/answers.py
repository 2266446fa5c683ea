"""Answers of a JSON face, written to the connection in one piece: a head that is mostly ready, and the body.

aiohttp's own response makes headers, a writer and two coroutines for every answer; that is as much work as reading the
request was. It still answers what is not the usual case: HEAD, HTTP/1.0, connections that are to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from time import time

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from kaito.logs import Event
from kaito.web.openai.errors import ApiError, error_body, internal
from kaito.web.request_ids import HEADER

JSON_TYPE = "application/json"
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_USUAL = STATUS_LINES[200] + f"Content-Type: {JSON_TYPE}\r\n".encode()
_ID_LINE = HEADER.encode() + b": "


class _Clock:
    """The Date header's line, made once a second."""

    def __init__(self) -> None:
        self._second, self._line = 0, b""

    def line(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second, self._line = second, b"Date: " + formatdate(second, usegmt=True).encode() + b"\r\n"
        return self._line


_CLOCK = _Clock()


def head(status: int, content_type: str, headers: Mapping[str, str], request_id: str) -> bytes:
    """The status line and headers up to what says where the body ends. Values hold no line breaks."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
    own = f"Content-Type: {content_type}\r\n{more}".encode()
    return b"%b%b%b%b%b\r\n" % (
        STATUS_LINES.get(status) or b"HTTP/1.1 %d Other\r\n" % status,
        own,
        _CLOCK.line(),
        _ID_LINE,
        request_id.encode(),
    )


class Answer(web.StreamResponse):
    """A body with its status and headers. `request_id` is set by whoever sends it."""

    def __init__(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = JSON_TYPE
    ) -> None:
        # The base's state is not made: none of it is used.
        self.body = body
        self.request_id = ""
        self._status = status
        self._more = headers or {}
        self._type = content_type
        self.is_last = False  # whether the connection ends with it

    @property
    def status(self) -> int:
        return self._status

    @property
    def keep_alive(self) -> bool:
        return not self.is_last

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if request.version is HttpVersion11 and request.keep_alive and not self.is_last and request.method != "HEAD":
            if self._status == 200 and not self._more and self._type == JSON_TYPE:
                start, date, request_id = _USUAL, _CLOCK.line(), self.request_id.encode()
                transport.write(b"%b%b%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
                    start, date, _ID_LINE, request_id, len(self.body), self.body,
                ))  # fmt: skip
            else:
                start = head(self._status, self._type, self._more, self.request_id)
                transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (start, len(self.body), self.body))
            return None
        return await self._prepare_as_aiohttp_does(request)

    async def _prepare_as_aiohttp_does(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        headers = {"Content-Type": self._type, "Server": "kaito", HEADER: self.request_id, **self._more}
        response = web.Response(body=self.body, status=self._status, headers=headers)
        if self.is_last:
            response.force_close()
        writer = await response.prepare(request)
        await response.write_eof()
        self.is_last = not response.keep_alive
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written."""


def json_answer(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(body, status=status, headers=headers)


def error_answer(error: ApiError) -> Answer:
    return Answer(error_body(error), status=error.status, headers=error.headers)


def answer_for(error: Exception, *, request_id: str) -> Answer:
    """The answer to an exception. What is not an ApiError is our fault: logged with its traceback, told as 500."""
    if isinstance(error, ApiError):
        return error_answer(error)
    if isinstance(error, web.HTTPException):
        return error_answer(ApiError(error.status, error.text or error.reason))
    structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=error)
    return error_answer(internal(f"Internal error; the server's log has more under request {request_id}."))
