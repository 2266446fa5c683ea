"""An engine that breaks says so: a clear 5xx for every request, readiness off, and what to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio

from kaito.inference.settings import Limits, ModelSettings, ServerSettings
from tests.contract.engine.conftest import NAME, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def doomed(checkpoint: Path) -> AsyncIterator[Served]:
    """A server of its own, whose model the test breaks."""
    model = ModelSettings(
        model=str(checkpoint), served_names=(NAME,), slots_max=2, kv_cache_bytes=4 << 20, context_tokens=512
    )
    settings = ServerSettings(engine="transformers", host="127.0.0.1", port=0, model=model, limits=Limits(queue_max=1))
    async with serving(settings, checkpoint) as found:
        yield found


def break_model(served: Served, error: Exception, after: int) -> None:
    """The model's forward pass raises from its `after`-th call on."""
    model = served.engine.generator._loaded.model  # type: ignore[attr-defined]
    forward, calls = model.forward, 0

    def broken(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error
        return forward(*arguments, **named)

    model.forward = broken


async def status(served: Served, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(served.url + path) as answer:
        return answer.status, await answer.text()


async def test_a_crash_ends_every_request_with_500_and_turns_readiness_and_health_off(doomed: Served):
    assert (await status(doomed, "/ready"))[0] == 200
    break_model(doomed, ValueError("the device fell off the bus"), after=5)
    asking = [
        doomed.client.completions.create(model=NAME, prompt="x", max_tokens=300, extra_body={"ignore_eos": True})
        for _ in range(2)
    ]
    for told in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(told, openai.InternalServerError) and told.status_code == 500
        assert "the device fell off the bus" in str(told)
    for path in ("/ready", "/health", "/v1/models"):
        code, text = await status(doomed, path)
        assert code == 503 and "the device fell off the bus" in text
    with pytest.raises(openai.InternalServerError, match="broken") as refused:
        await doomed.client.completions.create(model=NAME, prompt="x")
    assert refused.value.status_code == 503


async def test_a_crash_in_the_middle_of_a_stream_is_an_error_event(doomed: Served):
    break_model(doomed, ValueError("the device fell off the bus"), after=5)
    stream = await doomed.client.completions.create(
        model=NAME, prompt="x", max_tokens=300, stream=True, extra_body={"ignore_eos": True}
    )
    with pytest.raises(openai.APIError, match="the device fell off the bus"):
        async for _ in stream:
            pass


async def test_out_of_memory_says_what_to_change(doomed: Served):
    torch = pytest.importorskip("torch")
    break_model(doomed, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), after=0)
    with pytest.raises(openai.InternalServerError) as told:
        await doomed.client.completions.create(model=NAME, prompt="x")
    for words in ("out of memory", "--max-num-seqs", "--max-model-len", "--gpu-memory-utilization"):
        assert words in str(told.value)


async def test_a_full_queue_is_429_with_the_time_to_come_back(doomed: Served):
    def ask() -> asyncio.Task[object]:
        request = doomed.client.completions.create(
            model=NAME, prompt="x", max_tokens=400, extra_body={"ignore_eos": True}
        )
        return asyncio.create_task(request)  # type: ignore[arg-type]

    told = await asyncio.gather(*(ask() for _ in range(8)), return_exceptions=True)
    refused = [answer for answer in told if isinstance(answer, openai.RateLimitError)]
    assert len(refused) == 5 and len(told) - len(refused) == 3  # two slots and one place in the queue
    assert int(refused[0].response.headers["Retry-After"]) >= 1
    assert refused[0].code == "rate_limit_exceeded"
    assert doomed.app.state.in_flight.count == 0
