"""Probes: thresholds, and what counts as an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.local.kubelet.probes import Answer, ProbeSpec, Verdict, probe_once


async def no_command(command: list[str], timeout_s: float) -> tuple[int, str]:
    raise AssertionError(command)


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[int]:
    """A server that answers every connection with these bytes, or not at all."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if reply is None:
                await anyio.sleep(1000)
            else:
                await stream.send(reply)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()
    await listener.aclose()


async def ask(action: dict[str, Any], port: int, timeout_s: float = 5) -> Answer:
    spec = ProbeSpec.of(action | {"timeoutSeconds": timeout_s})
    return await probe_once(spec, lambda _: ("127.0.0.1", port), no_command)


@pytest.mark.parametrize(
    ("reply", "is_success"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 503 \r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"x" * 20_000, False),
        (b"", False),
    ],
)
async def test_http_succeeds_from_200_to_399(reply: bytes, is_success: bool):
    async with answering(reply) as port:
        assert (await ask({"httpGet": {"path": "/health", "port": 1}}, port)).is_success is is_success


async def test_a_silent_server_fails_when_the_time_is_over():
    async with answering(None) as port:
        answer = await ask({"httpGet": {"path": "/", "port": 1}}, port, timeout_s=0.05)
        assert answer == Answer(False, "no answer within 0.05s")


async def test_a_closed_port_fails():
    async with answering(b"") as port:
        pass
    assert not (await ask({"httpGet": {"port": 1}}, port)).is_success
    assert not (await ask({"tcpSocket": {"port": 1}}, port)).is_success


async def test_tcp_succeeds_when_somebody_accepts():
    async with answering(b"") as port:
        assert (await ask({"tcpSocket": {"port": 1}}, port)).is_success


async def test_a_line_break_cannot_smuggle_a_header():
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        answer = await ask({"httpGet": {"path": "/x\r\nEvil: 1", "port": 1}}, port)
        assert not answer.is_success and "line break" in answer.words


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_a_verdict_changes_only_after_as_many_equal_answers_as_its_threshold(
    answers: list[bool], failures_max: int, successes_min: int
):
    verdict = Verdict(ProbeSpec.of({"failureThreshold": failures_max, "successThreshold": successes_min}))
    for index, is_success in enumerate(answers, start=1):
        before, after = verdict.passed, verdict.take(Answer(is_success))
        needed = successes_min if is_success else failures_max
        row = answers[max(0, index - needed) : index]
        if row == [is_success] * needed:
            assert after is is_success
        else:
            assert after is before
