"""Batches across requests: what waits when the model is free is embedded together, a share of each request in turn."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from kaito.rag.embed.turns import Gate
from kaito.rag.postings import Float32s


@dataclass(slots=True, eq=False)
class _Request:
    """`order`: positions not yet taken, longest first, so that a batch pads little."""

    texts: Sequence[str]
    tokens: Sequence[int]
    order: deque[int]
    done: asyncio.Future[Float32s]
    rows: Float32s | None = None
    missing: int = field(default=0)


_Place: TypeAlias = tuple[_Request, int]


class Lane:
    """Threads that embed one batch after another.

    Queries have a lane of their own: a batch that is running cannot be interrupted, so a query that shared a thread
    with documents would wait for them. `batch_tokens_max` bounds a batch's texts × the tokens of the longest, which is
    what a padded batch costs; a text longer than that goes alone. `niceness`: added to that of the process.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[list[str]], Float32s],
        gate: Gate,
        *,
        threads: int = 1,
        niceness: int = 0,
        batch_texts_max: int,
        batch_tokens_max: int,
        clock_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._encode, self._gate, self._clock_s = encode, gate, clock_s
        self._texts_max, self._tokens_max = batch_texts_max, batch_tokens_max
        self._threads_max = threads
        self._threads = ThreadPoolExecutor(threads, f"embed-{name}", _be_nice, (niceness,))
        self._waiting: deque[_Request] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def embed(self, texts: Sequence[str], tokens: Sequence[int]) -> Float32s:
        """[n, d]. `tokens`: of each text, or an estimate. Raises what the model raised."""
        order = deque(sorted(range(len(texts)), key=lambda at: tokens[at], reverse=True))
        done: asyncio.Future[Float32s] = asyncio.get_running_loop().create_future()
        request = _Request(texts, tokens, order, done, missing=len(texts))
        self._gate.came(len(texts))
        self._waiting.append(request)
        self._begin()
        try:
            return await request.done
        finally:
            self._gate.went(len(request.order), 0.0)  # none are left but of a request that failed or was given up
            request.order.clear()

    def _begin(self) -> None:
        if len(self._running) < self._threads_max:
            self._running.add(asyncio.create_task(self._run()))

    async def _run(self) -> None:
        this = asyncio.current_task()
        assert this is not None
        try:
            while True:
                await self._gate.open()
                if not (batch := self._take()):
                    return
                if self._waiting:
                    self._begin()
                await self._embed(batch)
        finally:
            self._running.discard(this)  # at once: a text that comes now needs another task

    async def _embed(self, batch: Sequence[_Place]) -> None:
        seconds = 0.0
        try:
            rows, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, batch)
        except Exception as error:
            for request, _ in batch:
                if not request.done.done():
                    request.done.set_exception(error)
        else:
            for (request, at), row in zip(batch, rows, strict=True):
                _deliver(request, at, row)
        finally:
            self._gate.went(len(batch), seconds)

    def _timed(self, batch: Sequence[_Place]) -> tuple[Float32s, float]:
        start = self._clock_s()
        rows = self._encode([request.texts[at] for request, at in batch])
        return rows, self._clock_s() - start

    def _take(self) -> list[_Place]:
        """The next batch: one text of each waiting request in turn, until it is full."""
        batch: list[_Place] = []
        longest = 0
        while self._waiting and len(batch) < self._texts_max:
            request = self._waiting.popleft()
            if request.done.done() or not request.order:
                continue
            tokens = max(longest, request.tokens[request.order[0]])
            if batch and tokens * (len(batch) + 1) > self._tokens_max:
                self._waiting.appendleft(request)
                break
            longest = tokens
            batch.append((request, request.order.popleft()))
            if request.order:
                self._waiting.append(request)
        return batch

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        while self._waiting:
            if not (request := self._waiting.popleft()).done.done():
                request.done.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _be_nice(niceness: int) -> None:
    """For this thread alone, which only Linux can."""
    if niceness and sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


def _deliver(request: _Request, at: int, row: Float32s) -> None:
    if request.done.done():
        return
    if request.rows is None:
        request.rows = np.empty((len(request.texts), len(row)), np.float32)
    request.rows[at] = row
    request.missing -= 1
    if not request.missing:
        request.done.set_result(request.rows)
