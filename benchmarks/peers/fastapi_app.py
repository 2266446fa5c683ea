"""The same work on FastAPI and uvicorn, with uvloop and httptools: a careful version of what most servers do.

The same per request as ours: the whole request validated (by pydantic, as FastAPI does it), a request id in and out, a
bounded body, admission with a bounded queue, a time limit, a cancelled client gives its slot back, the same counters of
the same cheap kind. A chunk is a dictionary encoded by msgspec, several times faster than a pydantic model a chunk.
What is around the application is plain ASGI, since FastAPI's own middleware classes cost a task and a queue a request.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Annotated, Any, Literal

import msgspec
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from benchmarks.fake_generator import FakeGenerator
from kaito.inference.generation import Delta, Job, Outcome, Sampling
from kaito.inference.metrics import TokenMetrics
from kaito.web.request_ids import HEADER, request_id_of

encode = msgspec.json.Encoder().encode
BODY_BYTES_MAX = 32 << 20
REQUEST_TIMEOUT_S = 3600.0
ID = HEADER.lower().encode()
Natural = Annotated[int, Field(ge=0, le=1 << 31)]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class FunctionCall(BaseModel):
    name: str
    arguments: str = ""


class ToolCall(BaseModel):
    id: str = ""
    type: str = "function"
    function: FunctionCall


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class StreamOptions(BaseModel):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class ChatRequest(BaseModel):
    """The fields of kaito.web.openai.chat.ChatRequest, with their bounds."""

    model: str = ""
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    stop: str | list[str] | None = None
    stop_token_ids: list[Natural] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: Natural | None = None
    logit_bias: dict[str, float] | None = None
    skip_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = None
    return_token_ids: bool | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    user: str | None = None


class Bounds:
    """Plain ASGI around the application: the request's id in and out, and no body above the bound."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in (ID, b"content-length")}
        if int(headers.get("content-length", 0)) > BODY_BYTES_MAX:
            await Response(status_code=413)(scope, receive, send)
            return
        request_id = request_id_of({HEADER: headers[ID.decode()]} if ID.decode() in headers else {})
        scope["state"] = {"request_id": request_id}

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (ID, request_id.encode())]
            await send(message)

        await self.app(scope, receive, sending)


class Service:
    """What a request goes through, over the generator."""

    def __init__(self, generator: FakeGenerator) -> None:
        self.generator = generator
        self.metrics = TokenMetrics("fake", generator.count, generator.gpu_memory)
        self.slots = asyncio.Semaphore(generator.slots)
        self.waiting = 0

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        if self.slots.locked() and self.waiting >= self.generator.slots:
            raise HTTPException(429, "the server is at its limit", {"Retry-After": "1"})
        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self.slots.release()

    async def deltas(self, request: ChatRequest, request_id: str, prompt: list[int]) -> AsyncIterator[Delta]:
        queue: asyncio.Queue[Outcome] = asyncio.Queue()

        def sink(outcomes: list[tuple[int, Outcome]]) -> None:
            for _, outcome in outcomes:
                queue.put_nowait(outcome)

        sampling = Sampling(
            request.max_completion_tokens or request.max_tokens or 16,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed,
        )
        observed = self.metrics.started(len(prompt))
        async with self.admitted(), asyncio.timeout(REQUEST_TIMEOUT_S):
            await self.generator.submit(Job(request_id, prompt, sampling, sink))
            try:
                while True:
                    delta = await queue.get()
                    assert isinstance(delta, Delta)
                    observed.take(delta, monotonic())
                    yield delta
                    if delta.finish:
                        return
            finally:
                self.generator.cancel(request_id)

    async def events(self, request: ChatRequest, request_id: str, prompt: list[int]) -> AsyncIterator[bytes]:
        head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time())}
        head["model"] = request.model

        def chunk(delta: dict[str, str], finish: str | None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return b"data: " + encode({**head, "choices": [choice]}) + b"\n\n"

        yield chunk({"role": "assistant", "content": ""}, None)
        async for delta in self.deltas(request, request_id, prompt):
            yield chunk({"content": delta.text}, delta.finish)
        yield b"data: [DONE]\n\n"


def make_app(generator: FakeGenerator) -> FastAPI:
    app, service = FastAPI(), Service(generator)

    @app.post("/v1/chat/completions")
    async def chat(request: ChatRequest, asked: Request) -> Response:
        request_id = asked.state.request_id
        if request.model != "fake":
            raise HTTPException(404, f"The model `{request.model}` does not exist.")
        messages = [message.model_dump(exclude_none=True) for message in request.messages]
        prompt = generator.tokenizer.encode(generator.tokenizer.render_chat(messages))
        if request.stream:
            return StreamingResponse(service.events(request, request_id, prompt), media_type="text/event-stream")
        pieces, finish = [], None
        async for delta in service.deltas(request, request_id, prompt):
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
        return Response(encode(body), media_type="application/json")

    app.add_middleware(Bounds)
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
