"""VllmEngine: the `Engine` on vLLM's AsyncLLM and serving classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import msgspec
import psutil
from prometheus_client import generate_latest

from kaito.inference.engine import Call, EngineError, Operation, Progress, Reply, Report, Write
from kaito.inference.engines.vllm import internals
from kaito.inference.engines.vllm.flags import adapter_flags, file_flags, kv_offload_flags, memory_flags
from kaito.web.openai.errors import ApiError, error_body, internal, invalid, unavailable
from kaito.web.openai.models import ModelCard

# What vLLM says, in the engine's own process, when the device is too small: the cause in our words, with what to change.
STARTUP_ADVICE = (
    "vLLM's engine did not start; its own words stand above in the log. Out of GPU memory: raise "
    "--gpu-memory-utilization, lower --max-model-len or --max-num-seqs, add --enforce-eager, quantise, or spread the "
    "model with --tensor-parallel-size. A device that is held by another process: free it first."
)


class VllmEngine:
    """`argv`: vLLM's arguments; `file`: the configuration file's `vllm:` section, which wins over them.

    `offload_share`: of the free host memory, for evicted KV blocks; used where a GPU is.
    """

    name = "vllm"

    def __init__(
        self,
        argv: Sequence[str],
        *,
        file: Mapping[str, Any] | None = None,
        adapters: Path | None = None,
        offload_share: float = 0.0,
    ) -> None:
        parser = internals.make_parser()
        words = [*adapter_flags(argv, adapters), *argv]
        has_gpu = internals.has_gpu()
        words = [*memory_flags(argv, has_gpu=has_gpu), *words]
        try:
            words += file_flags(parser, file or {})
        except ValueError as error:
            raise EngineError(str(error)) from error
        self.args = internals.parse_arguments(parser, words)
        if has_gpu:
            available, ranks = psutil.virtual_memory().available, self.args.tensor_parallel_size
            words += kv_offload_flags(words, share=offload_share, available_bytes=available, ranks=ranks)
            self.args = internals.parse_arguments(parser, words)
        self.argv = tuple(words)
        self._open = AsyncExitStack()
        self._client: Any = None
        self._serving: internals.Serving | None = None
        self._cards: list[ModelCard] = []

    @property
    def operations(self) -> frozenset[Operation]:
        return self._served.operations

    @property
    def slots(self) -> int:
        return int(self._client.vllm_config.scheduler_config.max_num_seqs)

    @property
    def fault(self) -> str:
        if self._client is None:
            return "the engine has not started"
        return f"vLLM's engine has ended: {self._client.dead_error}" if self._client.errored else ""

    @property
    def _served(self) -> internals.Serving:
        if self._serving is None:
            raise EngineError("the engine has not started")
        return self._serving

    async def start(self, report: Report) -> None:
        report(Progress("load"))
        try:
            self._client = await self._open.enter_async_context(internals.open_engine(self.args))
            self._serving = await internals.open_serving(self._client, self.args)
            await self._list_models()
        except (RuntimeError, ValueError, OSError) as error:
            await self._open.aclose()
            raise EngineError(f"{error}. {STARTUP_ADVICE}") from error

    async def stop(self) -> None:
        await self._open.aclose()
        self._client = self._serving = None  # while the interpreter still stands: AsyncLLM's destructor needs it

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        try:
            answer = await self._served.run(operation, body, call)
        except internals.ValidationError as error:
            message, field = internals.describe(error)
            raise invalid(message, param=field or None) from error
        except internals.EngineDeadError as error:
            raise unavailable(f"vLLM's engine has ended: {error}") from error
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
        await self._change(self._served.load(name, path))

    async def unload_adapter(self, name: str) -> None:
        await self._change(self._served.unload(name))

    def exposition(self) -> bytes:
        return generate_latest(internals.get_prometheus_registry())

    async def _change(self, change: Any) -> None:
        answer = await change
        if isinstance(answer, internals.ErrorResponse):
            raise _api_error(answer)
        await self._list_models()

    async def _list_models(self) -> None:
        listed = await self._served.models.show_available_models()
        self._cards = [msgspec.convert(card.model_dump(mode="json"), ModelCard) for card in listed.data]


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
