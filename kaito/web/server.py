"""aiohttp's low-level server with our words for what it refuses itself, and a count of its connections."""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import http_exceptions, web

from kaito.logs import Event
from kaito.web.answers import error_answer
from kaito.web.openai.errors import ApiError, internal
from kaito.web.request_ids import request_id_of


class Server(web.Server):
    """A `web.Server` whose every answer is OpenAI's envelope, requests that are no HTTP included."""

    connections_count = 0

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: Any, transport: Any) -> None:
        self.connections_count += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        self.connections_count -= 1
        super().connection_lost(handler, exc)


class _Connection(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers before a handler is asked, or when one raises. The connection ends with it."""
        request_id = request_id_of({})
        if isinstance(exc, http_exceptions.HttpProcessingError):
            error = _malformed(exc)
        else:
            structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=exc)
            error = internal(f"Internal error; the server's log has more under request {request_id}.")
        answer = error_answer(error)
        answer.request_id = request_id
        answer.is_last = True
        return answer


def _malformed(error: http_exceptions.HttpProcessingError) -> ApiError:
    if isinstance(error, http_exceptions.LineTooLong):
        text = "The request line or a header is longer than is taken (--kaito-headers-bytes-max)."
        return ApiError(431, text, code="headers_too_large")
    first = (error.message or type(error).__name__).strip().splitlines()[0].rstrip(":")
    return ApiError(400, f"This is not HTTP/1.1: {first}", code="malformed_request")
