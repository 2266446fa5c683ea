"""The `Embedder` on transformers: inputs of all requests wait in one queue, those of like length share a batch.

A batch is bounded by its tokens, padding included. It is led by the input that waits longest, so nobody starves.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kaito.inference.engines.transformers.memory import gpu_memory, out_of_memory_while_running
from kaito.inference.engines.transformers.pooling import Head
from kaito.inference.engines.transformers.tokenizer import HfTokenizer
from kaito.inference.generation import GpuMemory, ModelInfo, Tokenizer
from kaito.inference.settings import ModelSettings
from kaito.web.openai.errors import ApiError, internal, unavailable

# Tokens of a batch where --max-num-batched-tokens does not say: what a CPU's caches like, what fills a GPU.
BATCH_TOKENS_CPU, BATCH_TOKENS_GPU = 2048, 32768
WINDOW = 512  # inputs at the queue's head among which a batch is chosen
ON_LOOP_CHARACTERS_MAX = 4096  # longer texts are tokenised on a thread
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """`shorter`: widths that the model's vectors may be cut to; None: any."""

    model: Any
    head: Head
    tokenizer: HfTokenizer
    info: ModelInfo
    dimensions: int
    shorter: frozenset[int] | None


@dataclass(slots=True, eq=False)
class _Ask:
    """One request's inputs on their way."""

    done: asyncio.Future[None]
    vectors: NDArray[np.float32]
    left: int
    is_gone: bool = False


@dataclass(slots=True, eq=False)
class _Input:
    tokens: list[int]
    ask: _Ask
    place: int


class TransformersEmbedder:
    """Opened with the model on its device; starts its thread."""

    name = "transformers"

    def __init__(self, loaded: LoadedEncoder, settings: ModelSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._loaded, self._loop = loaded, loop
        self.slots = settings.slots_max
        self.fault = ""
        is_cpu = loaded.model.device.type == "cpu"
        self._batch_tokens = settings.batch_tokens_max or (BATCH_TOKENS_CPU if is_cpu else BATCH_TOKENS_GPU)
        pad = loaded.tokenizer.hf.pad_token_id
        self._pad = pad if pad is not None else loaded.tokenizer.hf.eos_token_id or 0
        self._waiting: deque[_Input] = deque()
        self._running: list[_Input] = []
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
        self._thread.start()

    @property
    def info(self) -> ModelInfo:
        return self._loaded.info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._loaded.tokenizer

    @property
    def dimensions(self) -> int:
        return self._loaded.dimensions

    @property
    def shorter(self) -> frozenset[int] | None:
        return self._loaded.shorter

    @property
    def is_normalized(self) -> bool:
        return self._loaded.head.is_normalized

    def count(self) -> tuple[int, int]:
        return len(self._running), len(self._waiting)

    def gpu_memory(self) -> list[GpuMemory]:
        return gpu_memory(self._loaded.model.device)

    async def tokens(self, texts: list[str], *, add_special_tokens: bool, keep: int | None) -> list[list[int]]:
        head = self._loaded.head
        given = [head.prompt + text for text in texts] if head.prompt else texts
        if head.lowers:
            given = [text.lower() for text in given]

        def encode() -> list[list[int]]:
            cut: dict[str, Any] = {} if keep is None else {"truncation": True, "max_length": keep}
            encoded = self._loaded.tokenizer.hf(given, add_special_tokens=add_special_tokens, **cut)
            found: list[list[int]] = encoded["input_ids"]
            return found

        if sum(map(len, given)) <= ON_LOOP_CHARACTERS_MAX:
            return encode()
        return await asyncio.to_thread(encode)  # the tokenizer lets go of the interpreter

    async def embed(self, inputs: list[list[int]]) -> NDArray[np.float32]:
        if self.fault or self._is_stopping:
            raise unavailable(self.fault or "the engine is stopping")
        vectors = np.empty((len(inputs), self.dimensions), np.float32)
        ask = _Ask(self._loop.create_future(), vectors, len(inputs))
        with self._changed:
            self._waiting += [_Input(tokens, ask, place) for place, tokens in enumerate(inputs)]
            self._changed.notify_all()
        try:
            await ask.done
        finally:
            ask.is_gone = True
        return vectors

    async def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._compute(batch)
            self._fail_all(unavailable("the engine is stopping"))
        except Exception as error:  # the thread's end is the engine's: told to every request, and by readiness
            out_of_memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
            crashed = f"the engine crashed: {type(error).__name__}: {error}"
            self.fault = out_of_memory_while_running(error) if out_of_memory else crashed
            self._fail_all(internal(self.fault))

    def _next_batch(self) -> list[_Input]:
        """Waits for inputs; empty when it is time to stop."""
        with self._changed:
            while True:
                self._running = []
                self._changed.wait_for(lambda: self._is_stopping or self._waiting)
                if self._is_stopping:
                    return []
                window: list[_Input] = []
                while self._waiting and len(window) < WINDOW:
                    found = self._waiting.popleft()
                    if not found.ask.is_gone:
                        window.append(found)
                if window:
                    batch, rest = cut_batch(window, self._batch_tokens)
                    self._waiting.extendleft(reversed(rest))
                    self._running = batch
                    return batch

    def _compute(self, batch: list[_Input]) -> None:
        device = self._loaded.model.device
        lengths = [len(entry.tokens) for entry in batch]
        longest = max(lengths)
        # Padding on the right: the positions of an encoder are counted from the first token.
        ids = torch.tensor(
            [entry.tokens + [self._pad] * (longest - len(entry.tokens)) for entry in batch], device=device
        )
        counts = torch.tensor(lengths, device=device)
        mask = (torch.arange(longest, device=device).unsqueeze(0) < counts.unsqueeze(1)).long()
        with torch.inference_mode():
            hidden = self._loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state
            vectors = self._loaded.head(hidden, counts).cpu().numpy()
        done = []
        for entry, vector in zip(batch, vectors, strict=True):
            entry.ask.vectors[entry.place] = vector
            entry.ask.left -= 1
            if not entry.ask.left:
                done.append(entry.ask)
        self._running = []
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_finish, done, None)

    def _fail_all(self, error: ApiError) -> None:
        with self._changed:
            asks = {entry.ask for entry in (*self._running, *self._waiting)}
            self._running, self._waiting = [], deque()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_finish, list(asks), error)


def cut_batch(window: list[_Input], tokens_max: int) -> tuple[list[_Input], list[_Input]]:
    """(batch, rest in their order): the first of the window and those most like it in length, padding counted."""
    length = len(window[0].tokens)
    by_likeness = sorted(range(len(window)), key=lambda place: abs(len(window[place].tokens) - length))
    chosen, longest = {0}, length
    for place in by_likeness:
        widest = max(longest, len(window[place].tokens))
        if place and (len(chosen) + 1) * widest <= tokens_max:
            chosen.add(place)
            longest = widest
    return (
        [entry for place, entry in enumerate(window) if place in chosen],
        [entry for place, entry in enumerate(window) if place not in chosen],
    )


def _finish(asks: list[_Ask], error: ApiError | None) -> None:
    """On the event loop."""
    for ask in asks:
        if ask.done.done():
            continue
        if error is None:
            ask.done.set_result(None)
        else:
            ask.done.set_exception(error)
