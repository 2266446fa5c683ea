"""From settings to a running generator; the slow parts on a thread, so that probes are answered meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaito.inference.embedding import Embedder
from kaito.inference.engine import Engine, EngineError, Progress, Report
from kaito.inference.generation import Generator
from kaito.inference.serving import TokenServing
from kaito.inference.settings import ModelSettings

if TYPE_CHECKING:
    from kaito.inference.engines.weights import Located


async def open_transformers(settings: ModelSettings, report: Report) -> Engine:
    """Raises EngineError."""
    return await asyncio.to_thread(_open, settings, report, asyncio.get_running_loop())


def _open(settings: ModelSettings, report: Report, loop: asyncio.AbstractEventLoop) -> Engine:
    from kaito.inference.engines.transformers.encoder import makes_embeddings
    from kaito.inference.engines.weights import locate

    located = locate(settings, report)
    if makes_embeddings(located.path, settings.runner):
        from kaito.inference.serving.embeddings import EmbeddingServing

        return EmbeddingServing(_embedder(located, settings, report, loop), settings)
    return TokenServing(_generator(located, settings, report, loop), settings)


def _embedder(located: Located, settings: ModelSettings, report: Report, loop: asyncio.AbstractEventLoop) -> Embedder:
    from kaito.inference.engines.transformers.embedder import TransformersEmbedder
    from kaito.inference.engines.transformers.encoder import load_encoder

    return TransformersEmbedder(load_encoder(located, settings, report), settings, loop)


def _generator(located: Located, settings: ModelSettings, report: Report, loop: asyncio.AbstractEventLoop) -> Generator:
    from kaito.inference.engines.transformers.adapters import Adapters
    from kaito.inference.engines.transformers.cohorts import CohortBatcher
    from kaito.inference.engines.transformers.continuous import ContinuousBatcher, can_be_paged
    from kaito.inference.engines.transformers.generator import Batcher, Board, TransformersGenerator
    from kaito.inference.engines.transformers.loading import load

    loaded = load(located, settings, report)
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
