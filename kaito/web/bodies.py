"""Request bodies, bounded in size and time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from kaito.web.openai.errors import ApiError


def _too_large(bytes_max: int) -> ApiError:
    return ApiError(413, f"The body is larger than the {bytes_max} bytes that are taken.", code="body_too_large")


async def read_body(request: web.BaseRequest, *, bytes_max: int, timeout_s: float) -> bytes:
    """The whole body. Raises ApiError: 413 over the bound, 408 when it does not arrive in time, 415 when compressed."""
    encoding = request.headers.get("Content-Encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise ApiError(415, "The body is compressed: send it as it is.", code="unsupported_encoding")
    content = request.content
    if content.is_eof():  # it came with the head: the usual case
        body = content.read_nowait(-1) if request.body_exists else b""
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(content, bytes_max)
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {timeout_s:g} s.", code="request_timeout") from None


async def _read(content: asyncio.StreamReader | object, bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await content.readany():  # type: ignore[union-attr]
        size += len(piece)
        if size > bytes_max:
            raise _too_large(bytes_max)
        pieces.append(piece)
    return b"".join(pieces)
