"""Composition root of the model server: listens at once, loads, serves, and ends in order."""

from __future__ import annotations

import asyncio
import signal
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
from kaito.logs import Event

KEEP_ALIVE_S = 75.0  # above what load balancers use, so that they close first
BACKLOG = 1024


async def serve(settings: ServerSettings) -> int:
    """Runs until SIGTERM or SIGINT; the exit status."""
    log = structlog.get_logger()
    progress = StartProgress(monotonic)
    app = App(settings, progress)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = await listen(app, settings)
    engine: Engine | None = None
    try:
        engine = await _until(stopped, open_engine(settings, progress.report))
        if engine is None:
            return 0  # told to stop while loading
        app.serve(engine)
        cards = engine.models()
        log.info(
            Event.SERVER_READY,
            engine=engine.name,
            models=[card.id for card in cards],
            context_tokens=cards[0].max_model_len,
            slots=engine.slots,
            start_s=round(progress.ready(), 2),
            **({"note": cards[0].description} if cards[0].description else {}),
        )
        await stopped.wait()
        log.info(Event.SERVER_DRAINING, in_flight=app.in_flight.count, grace_s=settings.limits.shutdown_grace_s)
        drained = await app.in_flight.drained(settings.limits.shutdown_grace_s)
        log.info(Event.SERVER_STOPPED, drained=drained, left=app.in_flight.count)
        return 0
    except EngineError as error:
        log.error(Event.SERVER_FAILED, reason=str(error))
        print(f"kaito.inference: {error}", file=sys.stderr)  # noqa: T201 (the pod's last words)
        return 1
    finally:
        if engine is not None:
            await engine.stop()
        await runner.cleanup()


async def listen(app: App, settings: ServerSettings) -> web.ServerRunner:
    """Answers probes from now on."""
    limits = settings.limits
    server = web.Server(
        app,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        handler_cancellation=True,
        max_line_size=limits.headers_bytes_max,
        max_field_size=limits.headers_bytes_max,
    )
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
    await site.start()
    host, port = runner.addresses[0][:2]
    structlog.get_logger().info(Event.SERVER_LISTENING, address=f"{host}:{port}")
    return runner


async def _until(stopped: asyncio.Event, opening: Coroutine[Any, Any, Engine]) -> Engine | None:
    """What is awaited, or None when the event comes first."""
    task = asyncio.create_task(opening)
    signalled = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            found: Engine = task.result()
            return found
        task.cancel()
        return None
    finally:
        signalled.cancel()
