"""Answers: objects, lists and tables in the shape that the client asked for; errors as Status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from kaito.local.apiserver import StatusError
from kaito.local.http.bodies import JSON_TYPE, encode

WARNING_CHARS_MAX = 1_024
NO_SNIFF = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}


def answer(value: Any, *, status: int = 200, media_type: str = JSON_TYPE, warnings: Iterable[str] = (),
           headers: dict[str, str] | None = None) -> web.Response:  # fmt: skip
    response = web.Response(body=encode(value, media_type), status=status, headers=NO_SNIFF | (headers or {}))
    response.content_type = media_type
    for text in warnings:
        response.headers.add("Warning", warning(text))
    return response


def warning(text: str) -> str:
    """RFC 7234's warn-text, as kubectl reads it."""
    plain = "".join(character if character.isprintable() else " " for character in text)[:WARNING_CHARS_MAX]
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def failure(error: StatusError) -> web.Response:
    headers = {"Retry-After": "1"} if error.code in (429, 503) else None
    return answer(error.status, status=error.code, headers=headers)


def plain(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, headers=NO_SNIFF)
