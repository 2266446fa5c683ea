"""Which documents the model is given: near enough, and within the token budget."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.rag_api.fake_llm import FakeLlm
from tests.contract.rag_api.service import Rag, environment, remote_embedding, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "How does KAITO serve large language models on GPU nodes in Kubernetes?"
VERBS = ("serves", "runs", "deploys", "hosts", "operates", "schedules", "manages", "places", "launches", "offers")
NEAR = [f"KAITO {verb} large language models on GPU nodes in Kubernetes." for verb in VERBS]
FAR = [
    f"{thing} number {n} is kept in the old museum by the river."
    for n in range(4)
    for thing in ("Vase", "Coin", "Map", "Clock", "Violin")
]


async def test_exactly_the_near_documents_are_given(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, *FAR[:10], *NEAR, *FAR[10:])
    reply = await rag.chat(QUESTION, index_name=index, context_token_ratio=0.8, max_tokens=400)
    assert sorted(node["text"] for node in reply.body["source_nodes"]) == sorted(NEAR)


async def test_a_small_budget_takes_the_nearest_only(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, *NEAR)
    reply = await rag.chat(QUESTION, index_name=index, context_token_ratio=0.5, max_tokens=60)
    assert 1 <= len(reply.body["source_nodes"]) < 5
    assert NEAR[0] in {node["text"] for node in reply.body["source_nodes"]}


async def test_a_larger_ratio_takes_more(rag: Rag, llm: FakeLlm, index: str) -> None:
    await rag.ids(index, *NEAR)
    taken = [
        len((await rag.chat(QUESTION, index_name=index, context_token_ratio=r, max_tokens=150)).body["source_nodes"])
        for r in (0.2, 0.8)
    ]
    assert 1 <= taken[0] < taken[1]


async def test_a_document_too_large_for_the_budget_does_not_crowd_out_small_ones(
    rag: Rag, llm: FakeLlm, index: str
) -> None:
    large = " ".join([NEAR[0]] * 40)
    await rag.ids(index, large, NEAR[1])
    reply = await rag.chat(QUESTION, index_name=index, max_tokens=120)
    assert NEAR[1] in {node["text"] for node in reply.body["source_nodes"]}
    assert large not in {node["text"] for node in reply.body["source_nodes"]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def narrow(llm_server: FakeLlm, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rag]:
    """A service whose model has a context window of 500 tokens."""
    storage = tmp_path_factory.mktemp("narrow") / "storage"
    variables = environment(storage, llm_server.url, LLM_CONTEXT_WINDOW="500", **remote_embedding(llm_server.url))
    async with running(storage, variables) as service:
        yield service


async def test_a_prompt_longer_than_the_window_is_refused(narrow: Rag, llm: FakeLlm, index: str) -> None:
    await narrow.ids(index, *NEAR)
    reply = await narrow.chat(" ".join([QUESTION] * 60), index_name=index)
    assert reply.status == 400
    assert reply.detail.startswith("Prompt length exceeds context window.")
    assert llm.asked == []


async def test_a_prompt_within_the_window_is_answered_whatever_max_tokens_says(
    narrow: Rag, llm: FakeLlm, index: str
) -> None:
    await narrow.ids(index, *NEAR)
    for more in ({}, {"max_tokens": 300}, {"max_tokens": 5000}):
        assert (await narrow.chat(QUESTION, index_name=index, **more)).status == 200
    assert all(len(str(asked["messages"])) < 500 * 6 for asked in llm.asked)
