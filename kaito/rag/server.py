"""The process: what is opened in which order, and closed in the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from aiohttp import web

from kaito.rag.answer.chat import Chat
from kaito.rag.answer.llm import ModelServer
from kaito.rag.app import build_app
from kaito.rag.embed import Embedding
from kaito.rag.embed.local import load_local
from kaito.rag.embed.remote import open_remote
from kaito.rag.embed.rerank import Reranker
from kaito.rag.guardrails.guard import Guard
from kaito.rag.metrics import Metrics
from kaito.rag.persist.disk import Disk, sole_user
from kaito.rag.persist.paths import LIVE_FOLDER
from kaito.rag.registry import Indexes
from kaito.rag.service import Service
from kaito.rag.settings import RagSettings
from kaito.rag.tokens import open_counter
from kaito.rag.vectors.stores import store_maker
from kaito.web.auth import ApiKeys
from kaito.web.in_flight import InFlight


async def open_embedding(settings: RagSettings) -> Embedding:
    """Raises EmbeddingFailed."""
    if settings.embedding_source == "remote":
        return await open_remote(
            settings.remote_embedding_url, settings.remote_embedding_secret, settings.remote_embedding_model
        )
    return await load_local(settings.local_embedding_model, settings.embedding_precision, settings.embedding_threads)


async def open_chat(service: Service, stack: AsyncExitStack) -> Chat | None:
    """None where no model server is configured. Raises TokenizerMissing."""
    settings = service.settings
    if not settings.llm_url:
        return None
    count = await asyncio.to_thread(open_counter, settings.llm_tokenizer)
    guard = None
    if settings.guardrails:
        guard = Guard(Path(settings.guardrails_policy), service.metrics)
        await guard.reload()
        if settings.guardrails_reload:
            watching = asyncio.create_task(guard.watch(), name="guardrails")
            stack.callback(watching.cancel)
    server = ModelServer(
        settings.llm_url, settings.llm_secret, timeout_s=settings.llm_timeout_s, attempts=settings.llm_attempts
    )
    stack.push_async_callback(server.close)
    return Chat(service, server, count, guard)


@asynccontextmanager
async def running(settings: RagSettings, embedding: Embedding | None = None) -> AsyncIterator[int]:
    """Serves for as long as the block lasts; yields the port. Requests in flight get the grace at the end."""
    limits, in_flight, metrics = settings.limits, InFlight(), Metrics()
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, sole_user(settings.storage / LIVE_FOLDER))
        if embedding is None:
            embedding = await open_embedding(settings)
            stack.push_async_callback(embedding.close)
        indexes = Indexes(settings, embedding, store_maker(settings), Disk())
        stack.push_async_callback(indexes.close)
        start = monotonic()
        await indexes.open_all()
        metrics.opening.set(monotonic() - start)
        reranker = None
        if settings.reranker:
            reranker = await asyncio.to_thread(Reranker, settings.reranker, settings.reranker_batch)
            stack.callback(reranker.close)
        service = Service(settings, indexes, embedding, metrics, reranker)
        file = Path(settings.api_key_file) if settings.api_key_file else None
        keys = ApiKeys(settings.api_keys, file, monotonic)
        app = build_app(service, in_flight, await open_chat(service, stack), keys)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        try:
            yield int(runner.addresses[0][1])
        finally:
            await asyncio.shield(in_flight.drained(limits.shutdown_grace_s))
