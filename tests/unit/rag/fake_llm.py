"""A model server that says what the test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def chunk(text: str | None, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"id": "c1", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


@dataclass
class FakeLlm:
    """`statuses`: of the next answers, then 200. `pieces`: of the answer. `gate`: awaited before the second piece."""

    pieces: list[str] = field(default_factory=lambda: ["Hello", " world"])
    statuses: list[int] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "m", "max_model_len": 32768}])
    asked: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    was_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return web.Response(status=status, text=f"fault {status}", headers={"Retry-After": "0"})
        if body.get("stream"):
            return await self._stream(request)
        choices = [
            {"index": at, "message": {"role": "assistant", "content": "".join(self.pieces)}, "finish_reason": "stop"}
            for at in range(body.get("n", 1))
        ]
        return web.json_response(
            {"id": "c1", "object": "chat.completion", "model": body.get("model"), "choices": choices}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for at, piece in enumerate(self.pieces):
                if at == 1 and self.gate is not None:
                    await self.gate.wait()
                await response.write(b"data: " + json.dumps(chunk(piece)).encode() + b"\n\n")
            await response.write(b"data: " + json.dumps(chunk(None, "stop")).encode() + b"\n\ndata: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.was_cancelled.set()
            raise
        return response

    async def list_models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.models})


@asynccontextmanager
async def fake_llm() -> AsyncIterator[FakeLlm]:
    llm = FakeLlm()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", llm.complete)
    app.router.add_get("/v1/models", llm.list_models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    llm.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
    try:
        yield llm
    finally:
        await runner.cleanup()
