"""An embedding server: OpenAI's protocol where the URL ends in /embeddings, else upstream's `{"inputs": …}`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import numpy as np

from kaito import __version__
from kaito.backoff import Backoff
from kaito.rag.embed import EmbeddingFailed
from kaito.rag.postings import Float32s

BATCH_TEXTS, BATCHES_AT_ONCE = 64, 4
ATTEMPTS = 5
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 10.0, 120.0
START_TIMEOUT_S = 300.0  # the embedding server may be loading its model as this service starts
ANSWER_BYTES_MAX = 256 << 20


class RemoteEmbedding:
    """Pooled connections, batches, retries. Created by `open_remote`, which learns the dimensions."""

    mode = "remote"

    def __init__(self, url: str, secret: str, model: str) -> None:
        self.model = model or url
        self.dimensions = 0
        self._url, self._model = url, model
        self._is_openai = urlsplit(url).path.rstrip("/").endswith("/embeddings")
        self._takes_batches = True
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {secret}", "User-Agent": f"KAITO-RagEngine/{__version__}"}
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers)
        self._turns = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def query(self, text: str) -> Float32s:
        row: Float32s = (await self._embed([text]))[0]
        return row

    async def documents(self, texts: Sequence[str]) -> Float32s:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        batches = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]

        async def one(batch: Sequence[str]) -> Float32s:
            async with self._turns:
                return await self._embed(batch)

        return np.concatenate(await asyncio.gather(*(one(batch) for batch in batches)))

    async def close(self) -> None:
        await self._session.close()

    async def _embed(self, texts: Sequence[str]) -> Float32s:
        if self._takes_batches or len(texts) == 1:
            try:
                return self._rows(await self._ask(self._body(texts)), len(texts))
            except _Refused:
                if len(texts) == 1 or self._is_openai:
                    raise
                self._takes_batches = False  # upstream's servers take one text a request
        return np.concatenate([self._rows(await self._ask(self._body([text])), 1) for text in texts])

    def _body(self, texts: Sequence[str]) -> dict[str, Any]:
        if self._is_openai:
            return {"input": list(texts), **({"model": self._model} if self._model else {})}
        return {"inputs": texts[0] if len(texts) == 1 else list(texts)}

    def _rows(self, answer: Any, count: int) -> Float32s:
        """[count, d], each of length 1. Raises EmbeddingFailed for what is no such answer."""
        try:
            if isinstance(answer, dict):
                answer = [one["embedding"] for one in sorted(answer["data"], key=lambda one: one["index"])]
            rows = np.asarray(answer, np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise EmbeddingFailed(f"{self._url} answered no embeddings: {error!r}") from None
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) != count or not rows.shape[1] or not np.isfinite(rows).all():
            raise EmbeddingFailed(f"{self._url} answered embeddings of shape {rows.shape} for {count} texts")
        if self.dimensions and rows.shape[1] != self.dimensions:
            raise EmbeddingFailed(
                f"{self._url} answered {rows.shape[1]} dimensions; it had {self.dimensions} when this service started"
            )
        unit: Float32s = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    async def _ask(self, body: dict[str, Any]) -> Any:
        backoff = Backoff(0.2, 5.0, random)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._post(body)
            except _Busy as error:
                if attempt == ATTEMPTS:
                    raise EmbeddingFailed(f"{self._url}: {error} ({ATTEMPTS} attempts)") from None
                await asyncio.sleep(backoff.next_s())
        raise AssertionError("the last attempt returns or raises")

    async def _post(self, body: dict[str, Any]) -> Any:
        try:
            async with self._session.post(self._url, data=msgspec.json.encode(body), headers=JSON) as response:
                if response.status in RETRIED:
                    raise _Busy(f"answered {response.status}")
                if response.status != 200:
                    text = (await response.content.read(1000)).decode(errors="replace")
                    raise _Refused(f"{self._url} answered {response.status}: {text}")
                if (response.content_length or 0) > ANSWER_BYTES_MAX:
                    raise EmbeddingFailed(f"{self._url} answered more than {ANSWER_BYTES_MAX} bytes")
                return msgspec.json.decode(await response.read())
        except msgspec.DecodeError as error:
            raise EmbeddingFailed(f"{self._url} answered no JSON: {error}") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _Busy(f"{type(error).__name__}: {error}") from None


JSON = {"Content-Type": "application/json"}


class _Busy(Exception):
    """Worth another attempt."""


class _Refused(EmbeddingFailed):
    """The server understood and declined."""


async def open_remote(url: str, secret: str, model: str) -> RemoteEmbedding:
    """Waits for the server. Raises EmbeddingFailed after START_TIMEOUT_S."""
    remote = RemoteEmbedding(url, secret, model)
    deadline = monotonic() + START_TIMEOUT_S
    while True:
        try:
            remote.dimensions = len(await remote.query("dimensions"))
            return remote
        except EmbeddingFailed as error:
            if isinstance(error, _Refused) or monotonic() > deadline:
                await remote.close()
                raise
