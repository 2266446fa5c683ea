"""/healthz, /readyz and /metrics of a process, bounded in body, time and address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

BODY_BYTES_MAX = 1 << 10
EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def parse_address(text: str) -> tuple[str, int]:
    """`:8080`, `127.0.0.1:8080` or `[::1]:8080`. Raises ValueError that shows the text."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address: expected [HOST]:PORT, for example :8080")
    return host.strip("[]") or "0.0.0.0", int(port)


@asynccontextmanager
async def serve_probes(
    address: str, *, missing: Callable[[], tuple[str, ...]], exposition: Callable[[], bytes]
) -> AsyncIterator[int]:
    """Serves for as long as the block lasts; yields the port. `missing()` names what readiness still waits for."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_: web.Request) -> web.Response:
        waits = missing()
        text = f"not synced: {', '.join(waits)}" if waits else "ok"
        return web.Response(text=text, status=503 if waits else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": EXPOSITION_TYPE})

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=15)
    await runner.setup()
    try:
        host, port = parse_address(address)
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
