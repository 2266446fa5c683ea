"""The HTTP face: routes, and what every request goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

import msgspec
from aiohttp import web

from kaito.rag import openapi, wire
from kaito.rag.answer.chat import Chat
from kaito.rag.problems import Problem, answer, problem_answer
from kaito.rag.routes import chat, documents, retrieval, storage
from kaito.rag.service import Service
from kaito.web.auth import ApiKeys
from kaito.web.in_flight import InFlight
from kaito.web.probes import EXPOSITION_TYPE
from kaito.web.request_ids import HEADER, request_id_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PROBES = openapi.OPEN


def build_app(service: Service, in_flight: InFlight, talk: Chat | None, keys: ApiKeys) -> web.Application:
    """An application over a service whose indexes are open; without `talk` there is no model server."""
    limits, metrics = service.settings.limits, service.metrics

    @web.middleware
    async def through(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in PROBES:
            return await handler(request)
        request_id = request_id_of(request.headers)
        start = perf_counter()
        with in_flight.one(), metrics.running.track_inprogress():
            try:
                keys.check(request.headers)
                _admit(in_flight, limits.requests_max)
                async with asyncio.timeout(limits.request_timeout_s):
                    reply = await handler(request)
            except TimeoutError:
                detail = f"The answer took longer than {limits.request_timeout_s:g} s (RAG_REQUEST_TIMEOUT_S)."
                reply = answer({"detail": detail}, status=504)
            except Exception as error:
                reply = problem_answer(error, request_id=request_id)
        status = "success" if reply.status < 400 else "failure"
        metrics.e2e_requests.labels(status=status).inc()
        metrics.e2e_latency.labels(status=status).observe(perf_counter() - start)
        if not reply.prepared:
            reply.headers[HEADER] = request_id
        return reply

    app = web.Application(middlewares=[through], client_max_size=limits.body_bytes_max)
    for family in (documents, retrieval, storage):
        family.add_routes(app.router, service)
    chat.add_routes(app.router, service, talk)
    _add_probes(app.router, service, in_flight)
    described = msgspec.json.encode(openapi.document(has_keys=keys.are_required))

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=described, headers={"Content-Type": "application/json"})

    app.router.add_get("/openapi.json", describe)
    return app


def _admit(in_flight: InFlight, requests_max: int) -> None:
    if in_flight.count > requests_max:
        detail = f"{requests_max} requests are being answered, as many as RAG_CONCURRENT_REQUESTS_MAX allows; try again"
        raise Problem(429, detail, {"Retry-After": "1"})


def _add_probes(router: web.UrlDispatcher, service: Service, in_flight: InFlight) -> None:
    async def health(_: web.Request) -> web.Response:
        return answer(wire.Health(status="Healthy").model_dump())

    async def ready(_: web.Request) -> web.Response:
        if in_flight.is_draining:
            return answer(
                wire.Health(status="Draining", detail="The service is shutting down.").model_dump(), status=503
            )
        return answer(wire.Health(status="Ready").model_dump())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=service.metrics.exposition(), headers={"Content-Type": EXPOSITION_TYPE})

    router.add_get("/health", health)
    router.add_get("/ready", ready)
    router.add_get("/metrics", metrics)
