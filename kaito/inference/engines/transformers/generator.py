"""The `Generator` on transformers: what both ways of batching have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch

from kaito.inference.engines.transformers.adapters import AdapterError, Adapters
from kaito.inference.engines.transformers.guided import Grammars
from kaito.inference.engines.transformers.loading import Loaded
from kaito.inference.engines.transformers.memory import gpu_memory, out_of_memory_while_running
from kaito.inference.engines.transformers.outbox import Outbox
from kaito.inference.engines.transformers.scoring import prompt_logprobs
from kaito.inference.engines.transformers.sequence import Sequence
from kaito.inference.generation import Failure, GpuMemory, Guide, Job, ModelInfo, Tokenizer, TokenLogprob
from kaito.inference.settings import ModelSettings
from kaito.web.openai.errors import invalid


class Batcher(Protocol):
    """Steps of the model on a thread of its own, over the sequences of a `Board`."""

    def __init__(self, loaded: Loaded, adapters: Adapters, settings: ModelSettings, board: Board) -> None:
        """Takes its memory and starts the thread."""

    @property
    def context_tokens(self) -> int:
        """The longest sequence that it can run."""

    @property
    def death(self) -> str:
        """Why it runs no more; empty while it does."""

    def add(self, sequence: Sequence) -> bool:
        """Runs it as soon as there is room; False where nothing runs any more."""

    def cancel(self, sequence_id: str) -> None:
        """It has left the board; frees what it holds, before the next step."""

    def paused(self) -> AbstractContextManager[None]:
        """The model to oneself, between two steps."""

    def stop(self) -> None:
        """Blocks until the thread has ended."""


class Board:
    """The sequences that run or wait, and the way of what becomes of them to the event loop.

    The event loop adds and removes, the engine's thread looks up and removes: single dictionary operations, all atomic.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sequences: dict[str, Sequence] = {}
        self.outbox = Outbox(loop)
        self.fault = ""

    def fail(self, sequence_id: str, error: Exception) -> None:
        """On the engine's thread, which ends after it."""
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            self.fault = out_of_memory_while_running(error)
        else:
            self.fault = f"the engine crashed: {type(error).__name__}: {error}"
        if sequence := self.sequences.pop(sequence_id, None):
            self.outbox.put(sequence.job.sink, sequence.job.index, Failure(self.fault, 500))
            self.outbox.flush()


class TransformersGenerator:
    """A `Generator` over a batcher."""

    name = "transformers"

    def __init__(
        self, loaded: Loaded, adapters: Adapters, settings: ModelSettings, board: Board, batcher: Batcher
    ) -> None:
        self._loaded, self._adapters, self._settings = loaded, adapters, settings
        self._board, self._batcher = board, batcher
        self._grammars = Grammars(loaded.tokenizer, loaded.eos)
        self._submitted = 0
        given = loaded.info
        self._info = ModelInfo(given.root, batcher.context_tokens, given.description, given.defaults)

    @property
    def slots(self) -> int:
        return self._settings.slots_max

    @property
    def fault(self) -> str:
        return self._board.fault or self._batcher.death

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        return self._loaded.tokenizer

    @property
    def adapters(self) -> Mapping[str, str]:
        return self._adapters.paths

    def count(self) -> tuple[int, int]:
        sequences = list(self._board.sequences.values())
        started = sum(1 for sequence in sequences if sequence.is_started)
        return started, len(sequences) - started

    def gpu_memory(self) -> list[GpuMemory]:
        return gpu_memory(self._loaded.model.device)

    async def check_guide(self, guide: Guide) -> None:
        await asyncio.to_thread(self._grammars.compile, guide)

    async def submit(self, job: Job) -> None:
        if fault := self.fault:
            self._fail(job, Failure(fault, 503))
            return
        sequence = self._sequence(job)
        if job.sampling.prompt_logprobs is not None:
            sequence.prompt_logprobs = await asyncio.to_thread(self._score, job, sequence.adapter)
        if job.sampling.tokens_max == 0:
            self._board.outbox.put(job.sink, job.index, sequence.nothing())
            self._board.outbox.flush()
            return
        self._board.sequences[job.id] = sequence
        if not self._batcher.add(sequence) and self._board.sequences.pop(job.id, None) is not None:
            self._fail(job, Failure("the engine is stopping", 503))

    def cancel(self, job_id: str) -> None:
        if self._board.sequences.pop(job_id, None) is not None:
            self._batcher.cancel(job_id)

    async def stop(self) -> None:
        await asyncio.to_thread(self._batcher.stop)

    async def load_adapter(self, name: str, path: str) -> None:
        def load() -> None:
            with self._batcher.paused():
                self._adapters.sweep(self._adapters_in_use())
                self._adapters.load(name, Path(path))

        await self._change(load)

    async def unload_adapter(self, name: str) -> None:
        def unload() -> None:
            with self._batcher.paused():
                self._adapters.unload(name, self._adapters_in_use())

        await self._change(unload)

    async def _change(self, change: Callable[[], None]) -> None:
        if not self._settings.enable_lora:
            raise invalid("The server was started without --enable-lora: its prefix cache would mix adapters up.")
        try:
            await asyncio.to_thread(change)
        except AdapterError as error:
            raise invalid(str(error), param="lora_name") from error

    def _adapters_in_use(self) -> set[str]:
        return {sequence.adapter for sequence in list(self._board.sequences.values())}

    def _sequence(self, job: Job) -> Sequence:
        self._submitted += 1
        sequence = Sequence(job, self._loaded.tokenizer, self._loaded.eos, hash((self._settings.seed, self._submitted)))
        sequence.adapter = self._adapters.key_of(job.adapter)
        if job.sampling.guide is not None:
            sequence.guide = self._grammars.begin(job.sampling.guide)
        return sequence

    def _score(self, job: Job, adapter: str) -> list[TokenLogprob | None]:
        """Between two steps of the batch, on a thread."""
        with self._batcher.paused():
            self._adapters.route_rows([adapter])
            return prompt_logprobs(self._loaded.model, job.prompt, job.sampling.prompt_logprobs or 0)

    def _fail(self, job: Job, failure: Failure) -> None:
        self._board.outbox.put(job.sink, job.index, failure)
        self._board.outbox.flush()
