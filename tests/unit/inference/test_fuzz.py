"""Requests that nobody would write, and clients that go at any moment."""

from __future__ import annotations

import asyncio
import random

from tests.unit.inference.fuzz import fake_server, fuzz
from tests.unit.inference.harness import NAME, serving

CLIENTS = 200


async def test_no_request_made_from_the_document_is_a_500_or_keeps_a_slot():
    async with fake_server() as (url, app):
        seen = await fuzz(url, app, 300)
    assert seen[200] > 20 and seen[400] > 20


async def test_two_hundred_clients_that_go_at_random_leave_nothing_running():
    chance = random.Random(7)
    async with serving(step_s=0.001, slots=16) as served:
        served.app.state.admission.queue_max = CLIENTS  # type: ignore[union-attr]

        async def client() -> None:
            body = {
                "model": NAME,
                "prompt": "x",
                "max_tokens": 400,
                "stream": chance.random() < 0.7,
                "n": chance.randint(1, 3),
            }
            try:
                async with asyncio.timeout(chance.random() * 0.4):
                    async with served.session.post(f"{served.url}/v1/completions", json=body) as answer:
                        async for _ in answer.content:
                            pass
            except TimeoutError:
                pass

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        async with asyncio.timeout(20):
            while served.app.state.in_flight.count:  # noqa: ASYNC110
                await asyncio.sleep(0)
        admission = served.app.state.admission
        assert admission is not None
        assert (served.generator.count()[0], admission.running, admission.waiting) == (0, 0, 0)
