"""Output guardrails: policies from a file, reloaded when it changes, closed when it is broken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.contract.rag_api.fake_llm import FakeLlm, saying
from tests.contract.rag_api.service import Rag, environment, remote_embedding, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

Policy = Callable[[Any], Awaitable[Rag]]
FIRST: dict[str, Any] = {"action": "redact", "scanners": [{"type": "regex", "patterns": ["first-policy"]}]}
RELOADED_WITHIN_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(llm_server: FakeLlm, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rag, Path]]:
    folder = tmp_path_factory.mktemp("guarded")
    path = folder / "policy" / "guardrails.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(FIRST))
    variables = environment(
        folder / "storage",
        llm_server.url,
        OUTPUT_GUARDRAILS_ENABLED="true",
        OUTPUT_GUARDRAILS_POLICY_PATH=str(path),
        **remote_embedding(llm_server.url),
    )
    async with running(folder / "storage", variables) as service:
        yield service, path


@pytest.fixture
def policy(guarded: tuple[Rag, Path]) -> Policy:
    """Puts a policy in force and returns the service."""
    rag, path = guarded

    async def put(wanted: Any) -> Rag:
        before = await rag.metric("guardrails_policy_reload_total")
        path.write_text(wanted if isinstance(wanted, str) else yaml.safe_dump(wanted))
        async with asyncio.timeout(RELOADED_WITHIN_S):
            while await rag.metric("guardrails_policy_reload_total") == before:  # noqa: ASYNC110 (no one tells us)
                await asyncio.sleep(0.05)
        return rag

    return put


async def answer(rag: Rag, **more: Any) -> str:
    reply = await rag.chat("Tell me.", **more)
    assert reply.status == 200, reply.body
    content: str = reply.body["choices"][0]["message"]["content"]
    return content


async def test_the_policy_of_the_start_is_in_force(guarded: tuple[Rag, Path], llm: FakeLlm) -> None:
    llm.answer = saying("this first-policy text")
    assert await answer(guarded[0]) == "this [REDACTED] text"


async def test_a_blocking_scanner_replaces_the_answer(policy: Policy, llm: FakeLlm) -> None:
    rag = await policy(
        {
            "action": "block",
            "blockMessage": "Not for you.",
            "scanners": [{"type": "regex", "patterns": ["https?://\\S+"]}],
        }
    )
    llm.answer = saying("Visit https://example.org now", "Stay here")
    reply = await rag.chat("Tell me.", n=2)
    assert [c["message"]["content"] for c in reply.body["choices"]] == ["Not for you.", "Stay here"]
    assert await rag.metric("ragengine_guardrails_response_actions_total", final_action="block") >= 1


async def test_a_redacting_scanner_keeps_the_rest(policy: Policy, llm: FakeLlm) -> None:
    rag = await policy({"scanners": [{"type": "regex", "patterns": ["https?://\\S+"]}, {"type": "sensitive"}]})
    llm.answer = saying("Visit https://example.org now or write to ada@example.org from 192.168.1.20")
    assert await answer(rag) == "Visit [REDACTED] now or write to <EMAIL> from <IP_ADDRESS>"
    assert await rag.metric("ragengine_guardrails_response_scanner_hits_total", scanner_type="regex") >= 1


async def test_the_answer_of_an_index_is_scanned_too(policy: Policy, llm: FakeLlm, index: str) -> None:
    rag = await policy({"scanners": [{"type": "ban_substrings", "substrings": ["secret plan"]}]})
    await rag.ids(index, "the plan of the harbour")
    llm.answer = saying("The Secret Plan of the harbour")
    reply = await rag.chat("the plan of the harbour", index_name=index)
    assert reply.body["source_nodes"]
    assert reply.body["choices"][0]["message"]["content"] == "The [REDACTED] of the harbour"


@pytest.mark.parametrize("stream", [False, True])
async def test_streamable_scanners_see_what_is_split_over_pieces(policy: Policy, llm: FakeLlm, stream: bool) -> None:
    banned = ["two words", "three more words", f"stream {stream}"]  # a policy that is in force is not read again
    rag = await policy({"scanners": [{"type": "ban-substrings", "substrings": banned}]})
    llm.answer = saying("Here are two words and then three more words indeed.")
    if not stream:
        assert await answer(rag) == "Here are [REDACTED] and then [REDACTED] indeed."
        return
    body = {"messages": [{"role": "user", "content": "Tell me."}], "stream": True}
    async with rag.session.post(f"{rag.url}/v1/chat/completions", json=body) as response:
        lines = [line[5:].strip() async for line in response.content if line.startswith(b"data:")]
    assert lines[-1] == b"[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert said == "Here are [REDACTED] and then [REDACTED] indeed."


async def test_a_stream_that_cannot_be_scanned_is_refused(policy: Policy, llm: FakeLlm) -> None:
    rag = await policy({"scanners": [{"type": "json"}]})
    reply = await rag.chat("Tell me.", stream=True)
    assert reply.status == 400
    assert "json" in reply.detail
    assert llm.asked == []


@pytest.mark.parametrize(
    "broken",
    [
        "scanners: [",
        "- not a mapping",
        {"scanners": [{"type": "telepathy"}]},
        {"scanners": [{"type": "regex", "patterns": ["("]}]},
    ],
)
async def test_a_broken_policy_lets_nothing_unscanned_out(policy: Policy, llm: FakeLlm, broken: Any) -> None:
    """Upstream is then enabled with no scanners. Either the last good policy holds or nothing is answered."""
    good = {"type": "ban_substrings", "substrings": ["leak"]}
    await policy({"action": "block", "blockMessage": "No.", "scanners": [good]})
    rag = await policy(broken)
    llm.answer = saying("a leak of things")
    reply = await rag.chat("Tell me.")
    assert reply.status >= 500 or reply.body["choices"][0]["message"]["content"] == "No."
