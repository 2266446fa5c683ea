"""What the server asks of an engine: OpenAI's operations on bytes.

Two kinds of engine stand behind it. vLLM answers with its own protocol-level classes; an engine that only makes tokens
(transformers, the benchmarks' fake) is a `Generator` (generation.py) under `serving.TokenServing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

import msgspec

from kaito.web.openai.models import ModelCard


class Operation(StrEnum):
    CHAT = "chat.completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


class Call(msgspec.Struct, frozen=True):
    """Who asks: the request's id, for logs, traces and the answer's id."""

    request_id: str


Write: TypeAlias = Callable[[bytes], None]


class Stream(Protocol):
    """An answer in pieces that has been checked and not yet begun."""

    async def pump(self, write: Write) -> None:
        """Writes whole server-sent events until the last; events that are ready together come in one write.

        Cancelling it ends the request in the engine within one step. A failure after the first event is written as
        an event `{"error": …}`, as OpenAI does.
        """


Reply: TypeAlias = bytes | Stream  # JSON, or events


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a start is. Bytes are 0 where they are not known; `remaining_s` is -1 then."""

    stage: str
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    remaining_s: float = -1.0


Report: TypeAlias = Callable[[Progress], None]


class Engine(Protocol):
    """One loaded model. Methods are called on the event loop. Opening one raises EngineError with what to change."""

    @property
    def name(self) -> str:
        """`vllm`, `transformers` or `fake`."""

    @property
    def operations(self) -> frozenset[Operation]:
        """What this model can do: the others are answered with 404 and the reason."""

    @property
    def slots(self) -> int:
        """How many sequences run at once: the server admits no more than that, and queues the rest."""

    @property
    def fault(self) -> str:
        """Why no request will succeed any more; empty while all is well. Readiness follows it."""

    async def stop(self) -> None:
        """Ends what still runs and frees the device."""

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        """Answers, or begins to. Raises ApiError. Cancelling it ends the request within one step."""

    def models(self) -> list[ModelCard]:
        """The model under each served name, then the adapters."""

    async def load_adapter(self, name: str, path: str) -> None:
        """Makes a LoRA adapter a model of this name. Raises ApiError."""

    async def unload_adapter(self, name: str) -> None:
        """Takes it away; requests that run with it go on. Raises ApiError."""

    def exposition(self) -> bytes:
        """The engine's metrics in Prometheus' text format, under vLLM's names."""


class EngineError(Exception):
    """The engine cannot start or go on; the text says what to change."""
