"""Streamed chat completions: relayed as they come, sources at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, web

from tests.contract.rag_api.fake_llm import MODEL, FakeLlm, chunk, frame, refusing, saying
from tests.contract.rag_api.service import Rag

pytestmark = pytest.mark.asyncio(loop_scope="session")

KAITO = "KAITO provisions GPU nodes for large language models on Kubernetes."
QUESTION = "What does KAITO do with GPU nodes and large language models on Kubernetes?"


def asking(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}], "model": MODEL, "stream": True, **more}


async def events(response: ClientResponse) -> AsyncIterator[str]:
    """The data of each event."""
    async for line in response.content:
        if line.startswith(b"data:"):
            yield line[5:].strip().decode()


async def streamed(rag: Rag, body: dict[str, Any]) -> list[Any]:
    async with rag.session.post(f"{rag.url}/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        found = [event async for event in events(response)]
    assert found[-1] == "[DONE]"
    return [json.loads(event) for event in found[:-1]]


def text(chunks: list[Any]) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def test_a_stream_without_an_index_is_relayed_frame_by_frame(rag: Rag, llm: FakeLlm) -> None:
    llm.answer = saying("The answer is here.")
    chunks = await streamed(rag, asking())
    assert [c["choices"][0]["delta"].get("content") for c in chunks] == ["The ", "answer ", "is ", "here.", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert llm.asked == [asking()]


async def test_a_streamed_answer_from_documents_ends_with_its_sources(rag: Rag, llm: FakeLlm, index: str) -> None:
    """Upstream refuses to stream when an index is named."""
    llm.answer = saying("From the documents.")
    (kaito,) = await rag.ids(index, KAITO)
    chunks = await streamed(rag, asking(index_name=index))
    assert text(chunks) == "From the documents."
    assert [[n["doc_id"] for n in c["source_nodes"]] for c in chunks if c.get("source_nodes")] == [[kaito]]
    assert [node["doc_id"] for node in chunks[-1]["source_nodes"]] == [kaito]
    assert KAITO in llm.asked[0]["messages"][0]["content"]


async def test_an_error_before_the_first_byte_keeps_its_status(rag: Rag, llm: FakeLlm) -> None:
    llm.answer = refusing(401, "who are you")
    async with rag.session.post(f"{rag.url}/v1/chat/completions", json=asking()) as response:
        assert response.status == 401
        assert "who are you" in (await response.json())["detail"]


@pytest.mark.parametrize("with_index", [False, True])
async def test_the_first_piece_arrives_while_the_model_still_speaks(
    rag: Rag, llm: FakeLlm, index: str, with_index: bool
) -> None:
    may_finish = asyncio.Event()

    async def slow(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(frame(chunk("first ")))
        await may_finish.wait()
        await response.write(frame(chunk("second")) + frame(chunk(None, finish_reason="stop")) + frame("[DONE]"))
        return response

    llm.answer = slow
    await rag.ids(index, KAITO)
    body = asking(**({"index_name": index} if with_index else {}))
    async with rag.session.post(f"{rag.url}/v1/chat/completions", json=body) as response:
        stream = events(response)
        first = json.loads(await anext(stream))
        assert text([first]) == "first "
        may_finish.set()
        rest = [event async for event in stream]
    assert rest[-1] == "[DONE]"
    assert text([json.loads(event) for event in rest[:-1]]) == "second"


async def test_the_model_is_let_go_when_the_client_leaves(rag: Rag, llm: FakeLlm, index: str) -> None:
    left = asyncio.Event()

    async def endless(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(frame(chunk("more ")))
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            left.set()
            raise

    llm.answer = endless
    await rag.ids(index, KAITO)
    async with rag.session.post(f"{rag.url}/v1/chat/completions", json=asking(index_name=index)) as response:
        await anext(events(response))
        response.close()
    await asyncio.wait_for(left.wait(), 10.0)
