"""The demo's conversation, with a server that answers as told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kaito.cli.demo_talk import NoAnswer, Talk, answer_text, has_random_weights


@asynccontextmanager
async def talking(status: int, body: bytes, *, content_type: str = "application/json") -> AsyncIterator[Talk]:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, body=body, content_type=content_type)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Talk(session, str(server.make_url("")).rstrip("/"))


def stream(*pieces: str, ends: bool = True) -> bytes:
    chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + (["data: [DONE]\n\n"] if ends else [])
    return "".join(events).encode()


async def collect(talk: Talk) -> list[str]:
    return [piece async for piece in talk.chat_stream("phi", "hello", tokens_max=8)]


async def test_a_completion_is_read():
    body = json.dumps({"choices": [{"message": {"content": "four"}}]}).encode()
    async with talking(200, body) as talk:
        assert answer_text(await talk.chat("phi", "2 + 2", tokens_max=8)) == "four"


async def test_a_stream_is_read_piece_by_piece():
    async with talking(200, stream("a", "b", ""), content_type="text/event-stream") as talk:
        assert await collect(talk) == ["a", "b", ""]


async def test_a_stream_that_breaks_off_is_an_error():
    async with talking(200, stream("a", ends=False), content_type="text/event-stream") as talk:
        with pytest.raises(NoAnswer, match="without"):
            await collect(talk)


async def test_an_error_within_a_stream_is_told():
    body = b'data: {"error": {"message": "engine died"}}\n\n'
    async with talking(200, body, content_type="text/event-stream") as talk:
        with pytest.raises(NoAnswer, match="engine died"):
            await collect(talk)


@pytest.mark.parametrize(("status", "body"), [(503, b'{"error": "loading"}'), (200, b"<html>"), (200, b"[]")])
async def test_any_other_answer_is_told_with_where_it_came_from(status: int, body: bytes):
    async with talking(status, body) as talk:
        with pytest.raises(NoAnswer, match="/v1/models"):
            await talk.models()


def test_a_completion_without_words_is_no_answer():
    with pytest.raises(NoAnswer):
        answer_text({"choices": []})


def test_random_weights_are_found_in_the_card():
    assert has_random_weights({"id": "phi", "kaito": {"weights": "random (tiny)"}})
    assert not has_random_weights({"id": "phi"})
