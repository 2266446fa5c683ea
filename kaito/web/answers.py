"""Answers of a JSON face: bodies that are ready, and OpenAI's envelope around whatever went wrong."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from aiohttp import web

from kaito.logs import Event
from kaito.web.openai.errors import ApiError, error_body, internal

JSON_HEADERS = {"Content-Type": "application/json"}


def json_answer(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=body, status=status, headers=JSON_HEADERS if headers is None else {**JSON_HEADERS, **headers}
    )


def error_answer(error: ApiError, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_answer(error_body(error), status=error.status, headers={**(headers or {}), **error.headers})


def answer_for(error: Exception, *, request_id: str) -> web.Response:
    """The answer to an exception. What is not an ApiError is our fault: logged with its traceback, told as 500."""
    headers = {"X-Request-Id": request_id}
    if isinstance(error, ApiError):
        return error_answer(error, headers)
    if isinstance(error, web.HTTPException):
        return error_answer(ApiError(error.status, error.text or error.reason), headers)
    structlog.get_logger().error(Event.REQUEST_FAILED, request_id=request_id, exc_info=error)
    return error_answer(internal(f"Internal error; the server's log has more under request {request_id}."), headers)
