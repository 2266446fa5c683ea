"""Our server over a scripted engine, on a loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import aiohttp
import openai

from benchmarks.fake_generator import FakeGenerator
from kaito.inference.app import App
from kaito.inference.progress import StartProgress
from kaito.inference.server import listen
from kaito.inference.serving import TokenServing
from kaito.inference.settings import Limits, ModelSettings, ServerSettings
from kaito.web.tracing import NO_TRACING, Tracing

NAME = "fake"


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    app: App
    generator: FakeGenerator
    client: openai.AsyncOpenAI
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """(status, headers, JSON or text)."""
        async with self.session.request(method, self.url + path, **options) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, answer.headers, await (answer.json() if is_json else answer.text())


@asynccontextmanager
async def serving(
    *,
    script: Sequence[str] = (),
    step_s: float = 0.0,
    slots: int = 4,
    model: ModelSettings | None = None,
    limits: Limits | None = None,
    tracing: Tracing = NO_TRACING,
    scheme: str = "http",
    **settings: Any,
) -> AsyncIterator[Served]:
    model = replace(model or ModelSettings(), served_names=(NAME,))
    chosen = ServerSettings(host="127.0.0.1", port=0, model=model, limits=limits or Limits(), **settings)
    app = App(chosen, StartProgress(monotonic), tracing)
    generator = FakeGenerator(slots=slots, step_s=step_s, script=script)
    runner = await listen(app, chosen)
    app.state.open(TokenServing(generator, model))
    url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0, timeout=20)
    try:
        async with aiohttp.ClientSession() as session:
            yield Served(url, app, generator, client, session)
    finally:
        await client.close()
        await runner.cleanup()
