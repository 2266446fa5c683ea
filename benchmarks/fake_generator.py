"""An engine that makes no model work at all: what is left when it is behind a server is the server's own cost.

Every turn of the event loop is a step, and a step gives one token to every running sequence, as a batching engine does.
With `step_s` a step comes at that pace instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from kaito.inference.generation import Delta, GpuMemory, Guide, Job, ModelInfo

WORDS = [f" word{n}" for n in range(64)]


class FakeTokenizer:
    """A word is a token."""

    vocabulary_size = 1024
    special_tokens: frozenset[str] = frozenset()
    has_chat_template = True

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [len(word) for word in text.split()] or [1]

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return "".join(WORDS[token % len(WORDS)] for token in tokens)

    def token_name(self, token: int) -> str:
        return WORDS[token % len(WORDS)]

    def render_chat(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        return "\n".join(str(message["content"]) for message in messages)


class FakeGenerator:
    """A `Generator`. `script`, where given, is said instead of words, a piece a step."""

    name = "fake"
    fault = ""
    adapters: Mapping[str, str] = {}

    def __init__(self, *, slots: int = 1024, step_s: float = 0.0, script: Sequence[str] = ()) -> None:
        self.slots = slots
        self.step_s = step_s
        self.script = list(script)
        self.info = ModelInfo(root="fake", context_tokens=1 << 20)
        self.tokenizer = FakeTokenizer()
        self.gpus: list[GpuMemory] = []
        self._running: dict[str, tuple[Job, int]] = {}
        self._is_stepping = False

    def count(self) -> tuple[int, int]:
        return len(self._running), 0

    def gpu_memory(self) -> list[GpuMemory]:
        return self.gpus

    async def check_guide(self, guide: Guide) -> None:
        pass

    async def submit(self, job: Job) -> None:
        self._running[job.id] = (job, 0)
        if not self._is_stepping:
            self._is_stepping = True
            asyncio.get_running_loop().call_soon(self._step)

    def cancel(self, job_id: str) -> None:
        self._running.pop(job_id, None)

    async def load_adapter(self, name: str, path: str) -> None:
        raise NotImplementedError

    async def unload_adapter(self, name: str) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        self._running.clear()

    def _step(self) -> None:
        for job_id, (job, said) in list(self._running.items()):
            last = said + 1 >= (len(self.script) or job.sampling.tokens_max)
            if last:
                del self._running[job_id]
            else:
                self._running[job_id] = (job, said + 1)
            text = self.script[said] if self.script else WORDS[said & 63]
            finish = ("stop" if self.script else "length") if last else None
            job.sink([(job.index, Delta([said & 63], text, None, finish))])
        self._is_stepping = bool(self._running)
        if self._running:
            loop = asyncio.get_running_loop()
            if self.step_s:
                loop.call_later(self.step_s, self._step)
            else:
                loop.call_soon(self._step)
