"""From settings to a running generator; the slow parts on a thread, so that probes are answered meanwhile."""

from __future__ import annotations

import asyncio

from kaito.inference.engine import Engine, Report
from kaito.inference.serving import TokenServing
from kaito.inference.settings import ModelSettings


async def open_transformers(settings: ModelSettings, report: Report) -> Engine:
    """Raises EngineError."""
    loop = asyncio.get_running_loop()
    generator = await asyncio.to_thread(_open, settings, report, loop)
    return TokenServing(generator, settings)


def _open(settings: ModelSettings, report: Report, loop: asyncio.AbstractEventLoop):  # type: ignore[no-untyped-def]
    from kaito.inference.engine import Progress

    report(Progress("importing"))
    from kaito.inference.engines.transformers.continuous import ContinuousGenerator
    from kaito.inference.engines.transformers.loading import load
    from kaito.inference.engines.weights import locate

    loaded = load(locate(settings, report), settings, report)
    report(Progress("starting the engine"))
    return ContinuousGenerator(loaded, settings, loop)
