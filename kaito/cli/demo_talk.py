"""The demo's conversation with the model server: the model list, a chat completion, and one that is streamed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio

from kaito.api.meta import Json

ANSWER_TIMEOUT_S = 240.0  # 768 tokens of a model on two busy cores take more than a minute
BODY_BYTES_MAX = 4 << 20
LINE_BYTES_MAX = 1 << 20
REACHED_WITHIN_S, RETRY_S = 10.0, 0.1


class NoAnswer(Exception):
    """The server's answer is not what was asked for: what was asked, and what came."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Questions to one OpenAI-compatible server at `base_url`."""

    session: aiohttp.ClientSession
    base_url: str

    async def models(self) -> Json:
        """The model list; asked for again while nobody listens: the Service's endpoints follow the pod's readiness."""
        with anyio.move_on_after(REACHED_WITHIN_S):
            while True:
                try:
                    return await self._models()
                except aiohttp.ClientConnectionError:
                    await anyio.sleep(RETRY_S)
        raise NoAnswer(f"GET {self.base_url}/v1/models: nobody listens there after {REACHED_WITHIN_S:g}s")

    async def _models(self) -> Json:
        async with self._asking("GET", "/v1/models") as response:
            return await _object(response)

    async def post(self, path: str, body: Json) -> Any:
        """What the server answers, as JSON."""
        async with self._asking("POST", path, body) as response:
            return await _json(response)

    async def chat(self, model: str, question: str, *, tokens_max: int) -> Json:
        async with self._asking("POST", "/v1/chat/completions", _body(model, question, tokens_max)) as response:
            return await _object(response)

    async def chat_stream(self, model: str, question: str, *, tokens_max: int) -> AsyncIterator[str]:
        """The pieces of the answer as they come."""
        body = _body(model, question, tokens_max) | {"stream": True}
        async with self._asking("POST", "/v1/chat/completions", body) as response:
            await _check(response)
            async for data in _events(response):
                if data == "[DONE]":
                    return
                yield _piece(data)
        raise NoAnswer(f"POST {self.base_url}/v1/chat/completions: the stream ended without [DONE]")

    def _asking(self, method: str, path: str, body: Json | None = None) -> aiohttp.client._RequestContextManager:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        return self.session.request(method, self.base_url + path, json=body, timeout=timeout)


def _body(model: str, question: str, tokens_max: int) -> Json:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "max_tokens": tokens_max, "temperature": 0.7, "seed": 7}


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        words = (await response.content.read(2_048)).decode(errors="replace")
        raise NoAnswer(f"{response.method} {response.url}: {response.status} {words}")


async def _json(response: aiohttp.ClientResponse) -> Any:
    await _check(response)
    data = b"".join([piece async for piece in _bounded(response)])
    try:
        return json.loads(data)
    except ValueError as error:
        raise NoAnswer(f"{response.method} {response.url}: not JSON: {data[:200]!r}") from error


async def _object(response: aiohttp.ClientResponse) -> Json:
    found = await _json(response)
    if not isinstance(found, dict):
        raise NoAnswer(f"{response.method} {response.url}: expected an object, got {json.dumps(found)[:200]}")
    return found


async def _bounded(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises NoAnswer for one that is too long."""
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise NoAnswer(f"{response.method} {response.url}: an answer of more than {BODY_BYTES_MAX} bytes")
        yield piece


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of every server-sent event; the model servers put each on one line."""
    async for line in response.content:
        if len(line) > LINE_BYTES_MAX:
            raise NoAnswer(f"{response.url}: an event of more than {LINE_BYTES_MAX} bytes")
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")


def _piece(data: str) -> str:
    chunk = json.loads(data)
    if error := chunk.get("error"):
        raise NoAnswer(f"the stream broke off: {error.get('message') or error}")
    choices = chunk.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")


def answer_text(completion: Json) -> str:
    """The words of a chat completion. Raises NoAnswer."""
    try:
        return str(completion["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError) as error:
        raise NoAnswer(f"not a chat completion: {json.dumps(completion)[:300]}") from error


def has_random_weights(card: Json) -> bool:
    """Whether the model's card says that its weights are random: the server writes the word where it is so."""
    return "random" in json.dumps(card).lower()
