"""From settings to a running vLLM."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from kaito.inference.engine import Engine, EngineError, Progress, Report
from kaito.inference.engines.vllm import internals
from kaito.inference.engines.vllm.engine import VllmEngine
from kaito.inference.engines.vllm.flags import adapter_flags, kv_offload_flags, memory_flags
from kaito.inference.engines.vllm.stages import told_stages
from kaito.inference.engines.weights import Located, locate
from kaito.inference.settings import ServerSettings

OFFLOAD_SHARE = 0.5  # of the free host memory, as upstream
# The engine's own process says what went wrong, in the log; this says what to change.
ADVICE = (
    "vLLM's engine did not start; its own words stand above in the log. Out of GPU memory: raise "
    "--gpu-memory-utilization, lower --max-model-len or --max-num-seqs, add --enforce-eager, quantise, or spread the "
    "model with --tensor-parallel-size. A device that is held by another process: free it first."
)


async def open_vllm(settings: ServerSettings, report: Report) -> Engine:
    """Raises EngineError."""
    located = await asyncio.to_thread(_locate, settings, report)
    args = await asyncio.to_thread(arguments, settings, located)
    report(Progress("starting the engine"))
    opened = AsyncExitStack()
    try:
        async with told_stages(report):
            client = await opened.enter_async_context(internals.open_engine(args))
            engine = VllmEngine(client, await internals.open_serving(client, args), opened, located.note)
            await engine.list_models()
        return engine
    except (RuntimeError, ValueError, OSError) as error:
        await opened.aclose()
        raise EngineError(f"{error}. {ADVICE}") from error
    except asyncio.CancelledError:
        await opened.aclose()
        raise


def _locate(settings: ServerSettings, report: Report) -> Located:
    """As for any engine, but for addresses (az://, s3://) that vLLM's own loaders stream from."""
    if "://" in settings.model.model:
        return Located(Path(settings.model.model), settings.model.model)
    return locate(settings.model, report)


def arguments(settings: ServerSettings, located: Located) -> Namespace:
    """vLLM's arguments: the user's own, and what fits this machine and was not given. Raises EngineError."""
    words = [word for word in settings.engine_args if not word.startswith("--model=")]
    words += [f"--model={located.root if '://' in located.root else located.path}"]
    if not settings.model.served_names:
        words += ["--served-model-name", settings.model.model or located.root]
    words += adapter_flags(words, Path(settings.model.adapters_dir))
    has_gpu = internals.has_gpu()
    words += memory_flags(words, has_gpu=has_gpu)
    args = internals.parse_arguments(words)
    share = settings.kv_cache_cpu_memory_utilization
    offload = kv_offload_flags(
        words,
        share=OFFLOAD_SHARE if share is None else share,
        available_bytes=psutil.virtual_memory().available,
        ranks=args.tensor_parallel_size,
    )
    return internals.parse_arguments([*words, *offload]) if has_gpu and offload else args
