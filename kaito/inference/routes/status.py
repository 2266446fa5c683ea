"""How the server is: probes, metrics, version, benchmark, and the description of all paths."""

from __future__ import annotations

import msgspec
from aiohttp import web

from kaito import __version__
from kaito.inference.serving_state import ServingState
from kaito.web.answers import Answer, json_answer
from kaito.web.openai.errors import ApiError, unavailable
from kaito.web.probes import EXPOSITION_TYPE
from kaito.web.routes import Routes


def add_status_routes(routes: Routes, state: ServingState) -> None:
    async def health(_: web.BaseRequest) -> Answer:
        """Alive: also while loading and draining; not once the engine is broken, so that Kubernetes starts over."""
        if state.engine is not None and (fault := state.engine.fault):
            raise unavailable(f"The engine is broken: {fault}")
        return json_answer(b'{"status":"Healthy"}')

    async def ready(_: web.BaseRequest) -> Answer:
        state.serving()
        if state.is_measuring:
            raise unavailable("The start-up benchmark is running.")
        return json_answer(b'{"status":"Ready"}')

    async def metrics(_: web.BaseRequest) -> Answer:
        engine = b"" if state.engine is None else state.engine.exposition()
        text = engine + state.progress.exposition() + state.exposition()
        return Answer(text, content_type=EXPOSITION_TYPE)

    async def version(_: web.BaseRequest) -> Answer:
        return json_answer(msgspec.json.encode({"version": __version__}))

    async def benchmark(_: web.BaseRequest) -> Answer:
        if not state.benchmark:
            raise ApiError(
                404,
                "There is no benchmark's result: it is running, or the server was started without --kaito-benchmark.",
                type="NotFoundError",
                code="no_benchmark",
            )
        return json_answer(state.benchmark)

    async def openapi(_: web.BaseRequest) -> Answer:
        from kaito.inference.openapi import document  # built once, and by most servers never

        return json_answer(document())

    for path, handler in (
        ("/health", health),
        ("/ready", ready),
        ("/metrics", metrics),
        ("/version", version),
        ("/kaito/benchmark", benchmark),
        ("/openapi.json", openapi),
    ):
        routes.add("GET", path, handler)
