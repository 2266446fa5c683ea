"""Which engine, and how it is brought up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

from kaito.inference.engine import Engine, EngineError, Progress, Report
from kaito.inference.settings import ServerSettings


def pick_engine(settings: ServerSettings) -> str:
    """vLLM where it can be imported and there is a device for it, else transformers. Raises EngineError."""
    if settings.engine != "auto":
        if find_spec(settings.engine) is None:
            raise EngineError(
                f"--engine={settings.engine}: it is not installed here (pip install kaito[{settings.engine}])"
            )
        return settings.engine
    if find_spec("vllm") is not None and _has_device():
        return "vllm"
    if find_spec("transformers") is None or find_spec("torch") is None:
        raise EngineError("neither vllm nor transformers is installed: pip install 'kaito[inference]'")
    return "transformers"


async def open_engine(settings: ServerSettings, report: Report) -> Engine:
    """The engine, loaded. What takes long is done on threads: probes are answered meanwhile. Raises EngineError."""
    report(Progress("importing"))
    match await asyncio.to_thread(pick_engine, settings):
        case "transformers":
            from kaito.inference.engines.transformers.opening import open_transformers

            return await open_transformers(settings.model, report)
        case _:
            return await (await asyncio.to_thread(_import_vllm))(settings, report)


def _import_vllm() -> Callable[[ServerSettings, Report], Awaitable[Engine]]:
    from kaito.inference.engines.vllm.opening import open_vllm  # half a minute on a busy machine

    return open_vllm


def _has_device() -> bool:
    import torch

    return bool(torch.cuda.is_available())
