"""The process: what is opened in which order, and closed in the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from kaito.rag.app import build_app
from kaito.rag.embed import Embedding
from kaito.rag.embed.local import load_local
from kaito.rag.metrics import Metrics
from kaito.rag.persist.disk import Disk
from kaito.rag.registry import Indexes
from kaito.rag.service import Service
from kaito.rag.settings import RagSettings
from kaito.rag.vectors.stores import store_maker
from kaito.web.in_flight import InFlight


async def open_embedding(settings: RagSettings) -> Embedding:
    """Raises EmbeddingFailed."""
    return await load_local(settings.local_embedding_model, settings.embedding_precision, settings.embedding_threads)


@asynccontextmanager
async def running(settings: RagSettings, embedding: Embedding | None = None) -> AsyncIterator[int]:
    """Serves for as long as the block lasts; yields the port. Requests in flight get the grace at the end."""
    limits, in_flight, metrics = settings.limits, InFlight(), Metrics()
    async with AsyncExitStack() as stack:
        if embedding is None:
            embedding = await open_embedding(settings)
            stack.push_async_callback(embedding.close)
        indexes = Indexes(settings, embedding, store_maker(settings), Disk())
        stack.push_async_callback(indexes.close)
        await indexes.open_all()
        app = build_app(Service(settings, indexes, embedding, metrics), in_flight)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        try:
            yield int(runner.addresses[0][1])
        finally:
            await asyncio.shield(in_flight.drained(limits.shutdown_grace_s))
