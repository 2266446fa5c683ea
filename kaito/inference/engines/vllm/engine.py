"""VllmEngine: the `Engine` on vLLM's AsyncLLM and serving classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
from prometheus_client import generate_latest

from kaito.inference.engine import Call, Operation, Reply, Write
from kaito.inference.engines.vllm import internals
from kaito.web.openai.errors import ApiError, error_body, internal, invalid, unavailable
from kaito.web.openai.models import ModelCard


class VllmEngine:
    """Opened by `open_vllm`; `opened` holds what must be closed."""

    name = "vllm"

    def __init__(self, client: Any, serving: internals.Serving, opened: AsyncExitStack, note: str) -> None:
        self._client, self._serving, self._opened, self._note = client, serving, opened, note
        config = client.vllm_config  # --max-num-seqs is each copy's
        self._slots = int(config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size)
        self._cards: list[ModelCard] = []

    @property
    def operations(self) -> frozenset[Operation]:
        return self._serving.operations

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def fault(self) -> str:
        if self._client is None:
            return "the engine was stopped"
        return f"vLLM's engine has ended: {self._client.dead_error}" if self._client.errored else ""

    async def stop(self) -> None:
        await self._opened.aclose()
        self._client = None  # while the interpreter still stands: AsyncLLM's destructor needs it

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        try:
            answer = await self._serving.run(operation, body, call)
        except internals.ValidationError as error:
            message, field = internals.describe(error)
            raise invalid(message, param=field or None) from error
        except internals.EngineDeadError as error:
            raise unavailable(f"vLLM's engine has ended: {error}") from error
        except ApiError:
            raise
        except Exception as error:  # vLLM's own classification: its handlers raise what its HTTP layer translates
            raise _api_error(internals.create_error_response(error)) from error
        if isinstance(answer, internals.ErrorResponse):
            raise _api_error(answer)
        if isinstance(answer, AsyncGenerator):
            return _Events(answer)
        if hasattr(answer, "model_dump_json"):
            return bytes(answer.model_dump_json(by_alias=True).encode())
        return bytes(answer.body)  # a Starlette response: embeddings

    def models(self) -> list[ModelCard]:
        return list(self._cards)

    async def load_adapter(self, name: str, path: str) -> None:
        await self._change(self._serving.load(name, path))

    async def unload_adapter(self, name: str) -> None:
        await self._change(self._serving.unload(name))

    def exposition(self) -> bytes:
        return generate_latest(internals.get_prometheus_registry())

    async def _change(self, change: Any) -> None:
        answer = await change
        if isinstance(answer, internals.ErrorResponse):
            raise _api_error(answer)
        await self.list_models()

    async def list_models(self) -> None:
        """Reads the served names anew."""
        listed = await self._serving.models.show_available_models()
        self._cards = [msgspec.convert(card.model_dump(mode="json"), ModelCard) for card in listed.data]
        for card in self._cards:
            card.owned_by, card.description = "kaito", self._note or None


class _Events:
    """A stream of vLLM's, from its first event on."""

    def __init__(self, answer: AsyncGenerator[Any, None]) -> None:
        self._answer = answer

    async def pump(self, write: Write) -> None:
        # Closing the generator is what aborts the request in vLLM's engine.
        async with aclosing(self._answer) as answer:
            try:
                async for event in internals.events(answer):
                    write(event)
            except internals.EngineDeadError as error:
                write(b"data: " + error_body(internal(f"vLLM's engine has ended: {error}")) + b"\n\n")


def _api_error(answer: Any) -> ApiError:
    error = answer.error
    return ApiError(int(error.code), error.message, type=error.type, param=error.param)
