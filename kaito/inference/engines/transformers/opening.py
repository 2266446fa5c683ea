"""From settings to a running generator; the slow parts on a thread, so that probes are answered meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from kaito.inference.engine import Engine, EngineError, Progress, Report
from kaito.inference.generation import Generator
from kaito.inference.serving import TokenServing
from kaito.inference.settings import ModelSettings


async def open_transformers(settings: ModelSettings, report: Report) -> Engine:
    """Raises EngineError."""
    loop = asyncio.get_running_loop()
    generator = await asyncio.to_thread(_open, settings, report, loop)
    return TokenServing(generator, settings)


def _open(settings: ModelSettings, report: Report, loop: asyncio.AbstractEventLoop) -> Generator:
    report(Progress("importing"))  # torch and transformers: seconds
    from kaito.inference.engines.transformers.adapters import Adapters
    from kaito.inference.engines.transformers.cohorts import CohortBatcher
    from kaito.inference.engines.transformers.continuous import ContinuousBatcher, can_be_paged
    from kaito.inference.engines.transformers.generator import Batcher, Board, TransformersGenerator
    from kaito.inference.engines.transformers.loading import load
    from kaito.inference.engines.weights import locate

    loaded = load(locate(settings, report), settings, report)
    adapters = Adapters(loaded.model, settings.lora_rank_max)
    _load_adapters(adapters, settings, report)
    report(Progress("starting the engine"))
    board = Board(loop)
    is_paged = settings.batching != "cohorts" and can_be_paged(loaded.model)
    batch: type[Batcher] = ContinuousBatcher if is_paged else CohortBatcher
    return TransformersGenerator(loaded, adapters, settings, board, batch(loaded, adapters, settings, board))


def _load_adapters(adapters: Any, settings: ModelSettings, report: Report) -> None:
    """Those that are named, else those of the folder; merged where strengths are given. Raises EngineError."""
    from kaito.inference.engines.transformers.adapters import AdapterError, found_in, strengths_of

    named = [(name, Path(folder)) for name, folder in settings.lora_modules]
    try:
        for name, folder in named or found_in(Path(settings.adapters_dir)):
            report(Progress(f"loading adapter {name}"))
            adapters.load(name, folder)
        if strengths := strengths_of(adapters.paths, dict(os.environ)):
            report(Progress("merging adapters"))
            adapters.merge(strengths, settings.combination_type)
    except AdapterError as error:
        raise EngineError(str(error)) from error
