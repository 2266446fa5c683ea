"""An OpenAI-compatible server that answers what a test tells it to, and keeps what it was asked.

It also serves embeddings (`POST /v1/embeddings` and the plain `POST /embedding` of remote embedding services): the
hashed bag of a text's words, normalised, so that texts that share words are near each other and no model is loaded.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from aiohttp import web

MODEL = "fake-model"
DIMENSIONS = 256
Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def completion(*contents: str, model: str = MODEL) -> dict[str, Any]:
    """A chat completion with one choice per content."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            for i, content in enumerate(contents)
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def chunk(content: str | None, *, finish_reason: str | None = None) -> dict[str, Any]:
    """One streamed piece of a completion."""
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def frame(body: dict[str, Any] | str) -> bytes:
    """One server-sent event."""
    return f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()


def saying(*contents: str) -> Answer:
    """Answers with one choice per content; asked to stream, word by word."""

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response(completion(*contents, model=body.get("model") or MODEL))
        return await stream(
            request, *(chunk(w) for w in re.findall(r"\S+\s*", contents[0])), chunk(None, finish_reason="stop")
        )

    return answer


def in_pieces(*pieces: str, gate: asyncio.Event | None = None) -> Answer:
    """Streams these pieces, the second one and what follows once `gate` is set; or answers them as a whole."""

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response(completion("".join(pieces), model=body.get("model") or MODEL))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at, piece in enumerate(pieces):
            if at == 1 and gate is not None:
                await gate.wait()
            await response.write(frame(chunk(piece)))
        await response.write(frame(chunk(None, finish_reason="stop")) + frame("[DONE]"))
        return response

    return answer


def in_turn(*answers: Answer) -> Answer:
    """One after another; the last one for good."""
    left = list(answers)

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request, body)

    return answer


def refusing(status: int, message: str) -> Answer:
    """Answers every request with this error."""

    async def answer(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        error = {"error": {"message": message, "type": "invalid_request_error"}}
        return web.json_response(error, status=status, headers={"Retry-After": "0"})

    return answer


async def stream(request: web.Request, *chunks: dict[str, Any]) -> web.StreamResponse:
    """Streams the chunks and the end mark."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for body in chunks:
        await response.write(frame(body))
    await response.write(frame("[DONE]"))
    return response


def embedded(text: str) -> list[float]:
    """(256,) float: the hashed bag of words of `text`, of length 1."""
    vector = [1e-3] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        vector[crc32(word.encode()) % DIMENSIONS] += 1.0
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]


@dataclass
class FakeLlm:
    """What it was asked, in order, and how it answers chat requests."""

    url: str = ""
    answer: Answer = field(default_factory=lambda: saying("This is the answer."))
    asked: list[dict[str, Any]] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        self.answer = saying("This is the answer.")
        self.asked.clear()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        async with self.arrived:
            self.asked.append(body)
            self.arrived.notify_all()
        try:
            return await self.answer(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.was_cancelled.set()
            raise

    async def models(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 64_000}]}
        )

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        rows = [{"object": "embedding", "index": i, "embedding": embedded(text)} for i, text in enumerate(texts)]
        return web.json_response(
            {"object": "list", "model": "fake-embedding", "data": rows, "usage": {"total_tokens": 1}}
        )

    async def embedding(self, request: web.Request) -> web.StreamResponse:
        inputs = (await request.json())["inputs"]
        return web.json_response(embedded(inputs) if isinstance(inputs, str) else [embedded(text) for text in inputs])

    async def until_asked(self, count: int) -> None:
        """Returns once `count` chat requests have arrived since the last reset."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.asked) >= count)


@asynccontextmanager
async def serving() -> AsyncIterator[FakeLlm]:
    """The server, on a free loopback port."""
    llm = FakeLlm()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", llm.chat)
    app.router.add_get("/v1/models", llm.models)
    app.router.add_post("/v1/embeddings", llm.embeddings)
    app.router.add_post("/embedding", llm.embedding)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    llm.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield llm
    finally:
        await runner.cleanup()
