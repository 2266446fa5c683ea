"""The model server: one pooled client, retries until the first byte, its models discovered and remembered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
import structlog

from kaito import __version__
from kaito.backoff import Backoff
from kaito.logs import Event
from kaito.rag.problems import Problem

RETRIED = frozenset({429, 502, 503, 504})
CONNECT_TIMEOUT_S, DISCOVERY_TIMEOUT_S = 10.0, 10.0
MODELS_FRESH_S = 60.0
ANSWER_BYTES_MAX = 64 << 20
ERROR_BYTES_MAX = 64 << 10


class ModelServer:
    """`url`: of its chat completions (or completions). Safe to use from many tasks."""

    def __init__(self, url: str, secret: str, *, timeout_s: float, attempts: int) -> None:
        self._url = url
        self._timeout_s, self._attempts = timeout_s, attempts
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s)
        headers = {"Authorization": f"Bearer {secret}", "User-Agent": f"KAITO-RagEngine/{__version__}"}
        self._session = aiohttp.ClientSession(
            timeout=timeout, headers=headers, connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        )
        self._models: list[dict[str, Any]] = []
        self._models_at_s = float("-inf")
        self._discovery = asyncio.Lock()

    @property
    def url(self) -> str:
        return self._url

    @property
    def is_chat(self) -> bool:
        return "/chat/completions" in urlsplit(self._url).path

    async def close(self) -> None:
        await self._session.close()

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The whole answer. Raises Problem: the server's own status where it refused, 502, 504."""
        async with self.open(body) as response:
            try:
                async with asyncio.timeout(self._timeout_s):
                    data = await _bounded(response, ANSWER_BYTES_MAX)
                answer = msgspec.json.decode(data)
            except msgspec.DecodeError as error:
                raise Problem(502, f"The model server's answer is not JSON: {error}") from None
            except TimeoutError:
                raise Problem(504, f"The model server's answer took longer than {self._timeout_s:g} s.") from None
            except (aiohttp.ClientError, OSError) as error:
                raise Problem(502, f"Error during POST request: the answer broke off: {error}") from None
        if not isinstance(answer, dict):
            raise Problem(502, "The model server's answer is not a JSON object.")
        return answer

    @asynccontextmanager
    async def open(self, body: dict[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of status 200 whose body has not been read. Raises Problem."""
        response = await self._send(msgspec.json.encode(body))
        try:
            yield response
        finally:
            response.close()  # an answer nobody reads on is cancelled at the server

    async def _send(self, data: bytes) -> aiohttp.ClientResponse:
        backoff = Backoff(0.2, 5.0, random)
        deadline = monotonic() + self._timeout_s
        for attempt in range(1, self._attempts + 1):
            problem, retry_after_s = await self._attempt(data, deadline - monotonic())
            if isinstance(problem, aiohttp.ClientResponse):
                return problem
            wait_s = max(backoff.next_s(), retry_after_s)
            may_retry = problem.status in RETRIED and attempt < self._attempts and monotonic() + wait_s < deadline
            if not may_retry:
                raise problem
            structlog.get_logger().warning(Event.LLM_RETRIED, attempt=attempt, status=problem.status)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, data: bytes, left_s: float) -> tuple[aiohttp.ClientResponse | Problem, float]:
        try:
            async with asyncio.timeout(max(left_s, 0.001)):
                response = await self._session.post(self._url, data=data, headers={"Content-Type": "application/json"})
                if response.status == 200:
                    return response, 0.0
                text = (await _bounded(response, ERROR_BYTES_MAX)).decode(errors="replace")
                response.release()
        except TimeoutError:
            return Problem(504, f"The model server did not answer within {self._timeout_s:g} s (LLM_TIMEOUT_S)."), 0.0
        except (aiohttp.ClientError, OSError) as error:
            return Problem(502, f"Error during POST request: {error}"), 0.0
        detail = f"An unexpected error occurred: the model server answered: {text}" if response.status >= 500 else text
        status = response.status if response.status >= 400 else 502
        return Problem(status, detail), _seconds(response.headers.get("Retry-After", ""))

    async def models(self) -> list[dict[str, Any]]:
        """What GET /v1/models lists; the last known list, perhaps empty, where the server does not answer."""
        if monotonic() - self._models_at_s < MODELS_FRESH_S:
            return self._models
        async with self._discovery:
            if monotonic() - self._models_at_s < MODELS_FRESH_S:
                return self._models
            try:
                async with asyncio.timeout(DISCOVERY_TIMEOUT_S):
                    async with self._session.get(_models_url(self._url)) as response:
                        response.raise_for_status()
                        found = msgspec.json.decode(await _bounded(response, 1 << 20))
                self._models = [
                    one for one in found["data"] if isinstance(one, dict) and isinstance(one.get("id"), str)
                ]
                self._models_at_s = monotonic()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, TypeError, KeyError) as error:
                structlog.get_logger().warning(Event.MODELS_UNKNOWN, url=_models_url(self._url), reason=str(error))
            return self._models

    async def default_model(self) -> str | None:
        models = await self.models()
        return str(models[0]["id"]) if models else None

    async def window(self, model: str | None) -> int | None:
        """Tokens of the model's context as the server tells it."""
        for one in await self.models():
            length = one.get("max_model_len")
            if (model is None or one["id"] == model) and isinstance(length, int) and length > 0:
                return length
        return None


def _models_url(url: str) -> str:
    parts = urlsplit(url)
    root, found, _ = parts.path.partition("/v1")
    return urlunsplit((parts.scheme, parts.netloc, f"{root}/v1/models" if found else "/v1/models", "", ""))


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 30.0)
    except ValueError:
        return 0.0


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > bytes_max:
            raise Problem(502, f"The model server's answer is larger than {bytes_max} bytes.")
        pieces.append(piece)
    return b"".join(pieces)
