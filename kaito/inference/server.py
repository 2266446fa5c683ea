"""Composition root of the model server: listens at once, loads, measures, serves, and ends in order."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import structlog
from aiohttp import web

from kaito.inference.app import App
from kaito.inference.engine import Engine, EngineError
from kaito.inference.engines.opening import open_engine
from kaito.inference.progress import StartProgress
from kaito.inference.settings import ServerSettings
from kaito.inference.startup_benchmark import run_benchmark
from kaito.logs import Event
from kaito.web.memory import settle_memory
from kaito.web.server import Server
from kaito.web.tracing import open_tracing

KEEP_ALIVE_S = 75.0  # above what load balancers use, so that they close first
BACKLOG = 1024


async def serve(settings: ServerSettings) -> int:
    """Runs until SIGTERM or SIGINT; the exit status. Raises OSError, KeysUnreadable, TracingUnavailable."""
    progress = StartProgress(monotonic)
    tracing = open_tracing(settings.traces_endpoint, "kaito-inference")
    app = App(settings, progress, tracing)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = await listen(app, settings)
    engine: Engine | None = None
    try:
        engine = await _until(stopped, open_engine(settings, progress.report))
        if engine is not None:
            await _serve(app, engine, stopped)
        return 0
    except EngineError as error:
        structlog.get_logger().error(Event.SERVER_FAILED, reason=str(error))
        print(f"kaito.inference: {error}", file=sys.stderr)  # noqa: T201 (the pod's last words)
        return 1
    finally:
        if engine is not None:
            await engine.stop()
        await runner.cleanup()
        tracing.close()


async def _serve(app: App, engine: Engine, stopped: asyncio.Event) -> None:
    """Until the event, and then until the last answer or the grace's end."""
    log, state = structlog.get_logger(), app.state
    settle_memory()
    state.open(engine)
    if state.settings.benchmark:
        state.is_measuring = True
        await _until(stopped, run_benchmark(state, engine, monotonic))
        state.is_measuring = False
    cards = engine.models()
    log.info(
        Event.SERVER_READY,
        engine=engine.name,
        models=[card.id for card in cards],
        context_tokens=cards[0].max_model_len,
        slots=engine.slots,
        start_s=round(state.progress.ready(), 2),
        **({"note": cards[0].description} if cards[0].description else {}),
    )
    await stopped.wait()
    grace_s = state.limits.shutdown_grace_s
    log.info(Event.SERVER_DRAINING, in_flight=state.in_flight.count, grace_s=grace_s)
    drained = await state.in_flight.drained(grace_s)
    log.info(Event.SERVER_STOPPED, drained=drained, left=state.in_flight.count)


async def listen(app: App, settings: ServerSettings) -> web.ServerRunner:
    """Answers probes from now on. Raises OSError."""
    limits = settings.limits
    server = Server(
        app,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        handler_cancellation=True,
        max_line_size=limits.headers_bytes_max,
        max_field_size=limits.headers_bytes_max,
    )
    app.state.connections = lambda: server.connections_count
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG, ssl_context=tls_context(settings))
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    host, port = runner.addresses[0][:2]
    scheme = "https" if settings.certificate else "http"
    structlog.get_logger().info(Event.SERVER_LISTENING, address=f"{scheme}://{host}:{port}")
    return runner


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """None for plain HTTP. Raises OSError (SSLError is one) for files that do not fit."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.certificate_key)
    return context


async def _until(stopped: asyncio.Event, work: Coroutine[Any, Any, Engine | None]) -> Engine | None:
    """What is awaited, or None when the event comes first."""
    task = asyncio.create_task(work)
    signalled = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        signalled.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
