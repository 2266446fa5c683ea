"""Batches across requests: what waits when the model is free is embedded together, a share of each request in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from kaito.rag.postings import Float32s


@dataclass(slots=True, eq=False)
class _Request:
    """`order`: positions not yet taken, by length, so that a batch pads little."""

    texts: Sequence[str]
    order: deque[int]
    done: asyncio.Future[Float32s]
    rows: Float32s | None = None
    missing: int = field(default=0)


class Lane:
    """One thread that embeds one batch after another.

    Queries have a lane of their own: a batch that is running cannot be interrupted, so a query that shared the thread
    with documents would wait for them. `batch_characters_max`: bound on texts × the longest one's length, which is what
    a padded batch costs; a text longer than that goes alone.
    """

    def __init__(
        self, name: str, encode: Callable[[list[str]], Float32s], *, batch_texts_max: int, batch_characters_max: int
    ) -> None:
        self._encode = encode
        self._texts_max, self._characters_max = batch_texts_max, batch_characters_max
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"embed-{name}")
        self._waiting: deque[_Request] = deque()
        self._running: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str]) -> Float32s:
        """[n, d]. Raises what the model raised."""
        loop = asyncio.get_running_loop()
        order = deque(sorted(range(len(texts)), key=lambda at: len(texts[at]), reverse=True))
        request = _Request(texts, order, loop.create_future(), missing=len(texts))
        self._waiting.append(request)
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run())
        return await request.done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take():
            texts = [request.texts[at] for request, at in batch]
            try:
                rows = await loop.run_in_executor(self._thread, self._encode, texts)
            except Exception as error:
                for request, _ in batch:
                    if not request.done.done():
                        request.done.set_exception(error)
            else:
                for (request, at), row in zip(batch, rows, strict=True):
                    _deliver(request, at, row)

    def _take(self) -> list[tuple[_Request, int]]:
        """The next batch: one text of each waiting request in turn, until it is full."""
        batch: list[tuple[_Request, int]] = []
        longest = 0
        while self._waiting and len(batch) < self._texts_max:
            request = self._waiting.popleft()
            if request.done.done() or not request.order:
                continue
            length = max(longest, len(request.texts[request.order[0]]))
            if batch and length * (len(batch) + 1) > self._characters_max:
                self._waiting.appendleft(request)
                break
            longest = length
            batch.append((request, request.order.popleft()))
            if request.order:
                self._waiting.append(request)
        return batch

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        while self._waiting:
            if not (request := self._waiting.popleft()).done.done():
                request.done.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _deliver(request: _Request, at: int, row: Float32s) -> None:
    if request.done.done():
        return
    if request.rows is None:
        request.rows = np.empty((len(request.texts), len(row)), np.float32)
    request.rows[at] = row
    request.missing -= 1
    if not request.missing:
        request.done.set_result(request.rows)
