"""The same work on FastAPI and uvicorn, with uvloop and httptools: a careful version of what most servers do.

The request is validated by pydantic, as FastAPI does it. A chunk is a dictionary encoded by msgspec, which is several
times faster than a pydantic model a chunk.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from time import time
from typing import Any, Literal

import msgspec
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from benchmarks.fake_generator import FakeGenerator
from kaito.inference.generation import Delta, Job, Outcome, Sampling

encode = msgspec.json.Encoder().encode


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None


class ChatRequest(BaseModel):
    model: str = ""
    messages: list[Message]
    stream: bool = False
    max_tokens: int = Field(default=16, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    presence_penalty: float = Field(default=0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0, ge=-2, le=2)
    n: int = Field(default=1, ge=1, le=128)
    seed: int | None = None
    stop: str | list[str] | None = None


def make_app(generator: FakeGenerator) -> FastAPI:
    app = FastAPI()

    async def deltas(request: ChatRequest, request_id: str, prompt: list[int]) -> AsyncIterator[Delta]:
        queue: asyncio.Queue[Outcome] = asyncio.Queue()

        def sink(outcomes: list[tuple[int, Outcome]]) -> None:
            for _, outcome in outcomes:
                queue.put_nowait(outcome)

        sampling = Sampling(request.max_tokens, temperature=request.temperature, top_p=request.top_p, seed=request.seed)
        await generator.submit(Job(request_id, prompt, sampling, sink))
        try:
            while True:
                delta = await queue.get()
                assert isinstance(delta, Delta)
                yield delta
                if delta.finish:
                    return
        finally:
            generator.cancel(request_id)

    async def events(request: ChatRequest, request_id: str, prompt: list[int]) -> AsyncIterator[bytes]:
        head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time())}
        head["model"] = request.model

        def chunk(delta: dict[str, str], finish: str | None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return b"data: " + encode({**head, "choices": [choice]}) + b"\n\n"

        yield chunk({"role": "assistant", "content": ""}, None)
        async for delta in deltas(request, request_id, prompt):
            yield chunk({"content": delta.text}, delta.finish)
        yield b"data: [DONE]\n\n"

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest) -> Response:
        request_id = secrets.token_hex(16)
        text = generator.tokenizer.render_chat([message.model_dump() for message in request.messages])
        prompt = generator.tokenizer.encode(text)
        if request.stream:
            return StreamingResponse(events(request, request_id, prompt), media_type="text/event-stream")
        pieces, finish = [], None
        async for delta in deltas(request, request_id, prompt):
            pieces.append(delta.text)
            finish = delta.finish
        message = {"role": "assistant", "content": "".join(pieces)}
        body = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": int(time()),
            "model": request.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": len(prompt),
                "completion_tokens": len(pieces),
                "total_tokens": len(prompt) + len(pieces),
            },
        }
        return Response(encode(body), media_type="application/json", headers={"X-Request-Id": request_id})

    return app


def main(step_s: float) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    app = make_app(FakeGenerator(step_s=step_s))
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning", backlog=1024)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(float(sys.argv[1]))
