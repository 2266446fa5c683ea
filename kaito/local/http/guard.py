"""The guard before everything else: who is let in, how much at a time and for how long; errors become a Status."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from aiohttp import web

from kaito.local.apiserver import StatusError
from kaito.local.http.bodies import NESTING_WHY
from kaito.local.http.respond import failure

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX = 3 << 20  # as the real server
REQUESTS_MAX = 400  # at a time, beside long-running ones: the real server's max-requests-inflight
LONG_RUNNING_MAX = 2_000
REQUEST_TIMEOUT_S = 60.0
HOSTS = ("127.0.0.1", "localhost", "[::1]", "kubernetes.default.svc")
OPEN_PATHS = frozenset(("/healthz", "/livez", "/readyz", "/version"))

log = structlog.get_logger(__name__)


class Guard:
    """`is_long_running` tells watches, followed logs and proxied requests from the others."""

    def __init__(self, handler: Handler, *, token: str, is_long_running: Callable[[web.Request], bool]) -> None:
        self._handler, self._token, self._is_long_running = handler, token.encode(), is_long_running
        self._requests = self._long = 0

    async def respond(self, request: web.Request) -> web.StreamResponse:
        try:
            self._let_in(request)
            return await self._bounded(request)
        except StatusError as error:
            return failure(error)
        except web.HTTPRequestEntityTooLarge:
            why = f"Request entity too large: limit is {BODY_BYTES_MAX}"
            return failure(StatusError(413, "RequestEntityTooLarge", why))
        except RecursionError:
            return failure(StatusError(400, "BadRequest", NESTING_WHY))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception as error:
            log.exception("request failed", method=request.method, path=request.path)
            return failure(StatusError(500, "InternalError", f"Internal error occurred: {error!r}"))

    def _let_in(self, request: web.Request) -> None:
        """Raises StatusError: a page in a browser must not reach the cluster, nor anyone without the token."""
        host = (request.host or "").rpartition(":")[0] if _has_port(request.host or "") else request.host or ""
        if host.lower() not in HOSTS:
            raise StatusError(403, "Forbidden", f"the Host header {request.host!r} names none of {', '.join(HOSTS)}")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise StatusError(403, "Forbidden", f"requests of the origin {origin!r} are not accepted")
        if request.path in OPEN_PATHS:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(errors="surrogateescape"), self._token
        ):
            raise StatusError(401, "Unauthorized", "Unauthorized")

    async def _bounded(self, request: web.Request) -> web.StreamResponse:
        if self._is_long_running(request):
            if self._long >= LONG_RUNNING_MAX:
                raise _too_many(LONG_RUNNING_MAX)
            self._long += 1
            try:
                return await self._handler(request)
            finally:
                self._long -= 1
        if self._requests >= REQUESTS_MAX:
            raise _too_many(REQUESTS_MAX)
        self._requests += 1
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await self._handler(request)
        except TimeoutError:
            why = f"request did not complete within {REQUEST_TIMEOUT_S:g}s"
            raise StatusError(504, "Timeout", f"Timeout: {why}") from None
        finally:
            self._requests -= 1


def _too_many(limit: int) -> StatusError:
    return StatusError(429, "TooManyRequests", f"more than {limit} requests at a time: try again later")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")
