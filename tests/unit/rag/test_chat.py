"""Chat completions over HTTP, with a fake model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kaito.rag.server import running
from tests.contract.rag_api import fake_llm
from tests.contract.rag_api.fake_llm import MODEL, FakeLlm, in_pieces, in_turn, refusing, saying
from tests.unit.rag.harness import HashEmbedding, settings_at

PODS = "Kubernetes schedules pods onto nodes"
POLICY = "scanners:\n- {type: ban-substrings, substrings: [secret], matchType: word}\n"


class Talk:
    """A running service and its model server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = AsyncExitStack()
        self.llm: FakeLlm

    async def start(self, **given: Any) -> None:
        self.llm = await self.stack.enter_async_context(fake_llm.serving())
        url = f"{self.llm.url}/v1/chat/completions"
        settings = settings_at(self.folder, host="127.0.0.1", port=0, llm_url=url, **given)
        port = await self.stack.enter_async_context(running(settings, HashEmbedding()))
        self.http = await self.stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.http.post(path, json=body) as response:
            return response.status, await response.json()

    async def chat(self, text: str, **given: Any) -> tuple[int, Any]:
        return await self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **given})

    async def events(self, text: str, **given: Any) -> list[Any]:
        body = {"messages": [{"role": "user", "content": text}], "stream": True, **given}
        async with self.http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            frames = [one.removeprefix("data: ") for one in (await response.text()).split("\n\n") if one]
        return [one if one == "[DONE]" else json.loads(one) for one in frames]

    async def index(self) -> None:
        assert (await self.post("/index", {"index_name": "k", "documents": [{"text": PODS}, {"text": "cats purr"}]}))[
            0
        ] == 200


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    one = Talk(tmp_path)
    async with one.stack:
        yield one


async def test_grounded_request_carries_every_parameter_and_the_answer_its_sources(talk: Talk) -> None:
    await talk.start()
    await talk.index()
    talk.llm.answer = saying("Hello world", "Hello world")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    status, answer = await talk.chat(
        "schedules pods?", index_name="k", n=2, seed=7, tools=tools, max_tokens=50, stop=["x"]
    )
    assert status == 200, answer
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["Hello world"] * 2
    assert [one["text"] for one in answer["source_nodes"]] == [PODS]
    asked = talk.llm.asked[0]
    assert (asked["n"], asked["seed"], asked["tools"], asked["max_tokens"], asked["stop"]) == (2, 7, tools, 50, ["x"])
    assert asked["model"] == MODEL
    assert [one["role"] for one in asked["messages"]] == ["system", "user"]
    assert f"[1] {PODS}" in asked["messages"][0]["content"]
    assert "index_name" not in asked


async def test_without_an_index_or_anything_relevant_the_request_is_passed_through(talk: Talk) -> None:
    await talk.start()
    await talk.index()
    messages = [{"role": "user", "content": "zebra"}]
    for given in ({}, {"index_name": "k"}):
        status, answer = await talk.post("/v1/chat/completions", {"messages": messages, "model": "x", **given})
        assert (status, answer["source_nodes"]) == (200, None)
        assert talk.llm.asked[-1] == {"messages": messages, "model": "x"}


async def test_stream_brings_its_sources_in_the_last_chunk(talk: Talk) -> None:
    await talk.start()
    await talk.index()
    talk.llm.answer = saying("Hello world")
    *rest, sources, done = await talk.events("schedules pods?", index_name="k")
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in rest) == "Hello world"
    assert (sources["choices"], [one["text"] for one in sources["source_nodes"]], done) == ([], [PODS], "[DONE]")


async def test_client_that_leaves_cancels_the_model_servers_work(talk: Talk) -> None:
    await talk.start()
    talk.llm.answer = in_pieces("Hello", " world", gate=asyncio.Event())
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with talk.http.post("/v1/chat/completions", json=body) as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(10):
        await talk.llm.was_cancelled.wait()


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_model_server_is_asked_again_before_the_first_byte(talk: Talk, status: int) -> None:
    await talk.start()
    talk.llm.answer = in_turn(refusing(status, "busy"), saying("Hello world"))
    assert (await talk.chat("hi"))[0] == 200
    assert len(talk.llm.asked) == 2


async def test_refusals_keep_their_status_and_are_not_repeated(talk: Talk) -> None:
    await talk.start()
    await talk.index()
    for status, expected in ((401, "not you"), (500, "An unexpected error occurred")):
        for given in ({}, {"index_name": "k"}, {"stream": True}):
            talk.llm.answer = refusing(status, "not you")
            seen, answer = await talk.chat("schedules pods?", **given)
            assert (seen, expected in answer["detail"]) == (status, True)
    assert len(talk.llm.asked) == 6


async def test_guardrails_redact_what_streams_and_what_does_not(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    await talk.start(guardrails=True, guardrails_policy=str(tmp_path / "policy.yaml"))
    await talk.index()
    talk.llm.answer = in_pieces("the sec", "ret of se", "crets is secret")
    expected = "the [REDACTED] of secrets is [REDACTED]"
    assert (await talk.chat("hi"))[1]["choices"][0]["message"]["content"] == expected
    for given in ({}, {"index_name": "k"}):
        events = await talk.events("schedules pods?", **given)
        texts = [one["choices"][0]["delta"].get("content", "") for one in events[:-1] if one["choices"]]
        assert "".join(texts) == expected
        assert events[-1] == "[DONE]"


async def test_guardrails_block_ends_the_stream_with_the_message(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("action: block\nblockMessage: No.\n" + POLICY)
    await talk.start(guardrails=True, guardrails_policy=str(tmp_path / "policy.yaml"))
    talk.llm.answer = in_pieces("all is well ", "but secret", " things")
    events = await talk.events("hi")
    last = [one["choices"][0] for one in events[:-1] if one["choices"]][-1]
    assert (last["delta"]["content"], last["finish_reason"]) == ("No.", "content_filter")
    assert "secret" not in json.dumps(events)
    answer = (await talk.chat("hi"))[1]["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == ("No.", "content_filter")


@pytest.mark.parametrize(
    "policy",
    [None, "scanners: []", "scanners:\n- {type: unheard-of}", "{", "scanners:\n- {type: regex, patterns: ['(']}"],
)
async def test_guardrails_without_a_valid_policy_let_nothing_pass(
    talk: Talk, tmp_path: Path, policy: str | None
) -> None:
    if policy is not None:
        (tmp_path / "policy.yaml").write_text(policy)
    await talk.start(guardrails=True, guardrails_policy=str(tmp_path / "policy.yaml"))
    status, answer = await talk.chat("hi")
    assert (status, "policy" in answer["detail"], talk.llm.asked) == (503, True, [])


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"content": "x"}]}, 400, "messages must contain 'role'"),
        ({"messages": [{"role": "user"}]}, 400, "must contain 'content' for role 'user'"),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "user messages must contain 'content'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "There must be a user prompt"),
        ({"messages": [{"role": "user", "content": "x"}], "context_token_ratio": 0.1}, 400, "between 0.2 and 0.8"),
        ({"messages": [{"role": "user", "content": "x"}], "context_token_ratio": "a"}, 422, "expected a number"),
        ({"messages": [{"role": "user", "content": "x " * 80000}]}, 400, "Prompt length exceeds context window"),
    ],
)
async def test_faults_of_a_request_are_named(talk: Talk, body: dict[str, Any], status: int, text: str) -> None:
    await talk.start()
    await talk.index()
    seen, answer = await talk.post("/v1/chat/completions", {"index_name": "k", **body})
    assert (seen, text in str(answer["detail"])) == (status, True), answer
