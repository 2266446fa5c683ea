"""POST /retrieve: shape, limits, order, filters."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.rag_api.service import Rag

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = [
    "KAITO provisions GPU nodes for large language models on Kubernetes.",
    "Bake the bread for forty minutes until the crust is golden.",
    "The violin concerto opens with a slow movement in D minor.",
    "Tomatoes grow best in full sun with regular watering.",
    "The cat sleeps on the warm windowsill all afternoon.",
    "Sailors used the stars to find their way across the ocean.",
    "Error E4711 means that the coolant pump has no pressure.",
]


async def test_results_carry_document_node_text_scores_and_metadata(rag: Rag, index: str) -> None:
    ids = await rag.ids(index, *({"text": text, "metadata": {"n": n}} for n, text in enumerate(TEXTS)))
    reply = await rag.retrieve(index, "GPU nodes for language models", max_node_count=3)
    assert reply.status == 200
    assert reply.body["query"] == "GPU nodes for language models"
    assert reply.body["count"] == len(reply.body["results"]) == 3
    best = reply.body["results"][0]
    assert set(best) == {"doc_id", "node_id", "text", "score", "dense_score", "sparse_score", "source", "metadata"}
    assert (best["doc_id"], best["text"], best["metadata"]) == (ids[0], TEXTS[0], {"n": 0})
    assert best["source"] == "both"
    scores = [node["score"] for node in reply.body["results"]]
    assert scores == sorted(scores, reverse=True)


async def test_the_best_match_ranks_first_by_meaning_and_by_exact_term(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    asked = {
        "how long must a loaf stay in the oven": TEXTS[1],
        "a pet resting in the sunshine": TEXTS[4],
        "navigation at sea by night": TEXTS[5],
        "E4711": TEXTS[6],
    }
    found = {query: (await rag.retrieve(index, query)).body["results"][0]["text"] for query in asked}
    assert found == asked


async def test_words_that_match_nothing_give_no_sparse_credit(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    found = (await rag.retrieve(index, "qwertyuiop")).body["results"]
    assert {(node["source"], node["sparse_score"]) for node in found} <= {("dense_only", None)}


async def test_five_nodes_by_default_and_never_more_than_asked_or_there(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    counts = [
        (await rag.retrieve(index, "bread and stars", **more)).body["count"]
        for more in ({}, {"max_node_count": 1}, {"max_node_count": 300})
    ]
    assert counts == [5, 1, len(TEXTS)]


@pytest.mark.parametrize("count", [0, -1, 301, "many", None])
async def test_a_count_outside_1_to_300_is_a_422(rag: Rag, index: str, count: object) -> None:
    await rag.ids(index, TEXTS[0])
    assert (await rag.retrieve(index, "bread", max_node_count=count)).status == 422


@pytest.mark.parametrize("query", ["", "   ", "\n"])
async def test_a_blank_query_is_refused(rag: Rag, index: str, query: str) -> None:
    await rag.ids(index, TEXTS[0])
    reply = await rag.retrieve(index, query)
    assert (reply.status, reply.detail) == (400, "Query string cannot be empty.")


async def test_a_metadata_filter_is_applied_before_the_best_are_taken(rag: Rag, index: str) -> None:
    """Upstream answers 500 on FAISS, and ignores the filter on Qdrant."""
    near = [{"text": f"Bread loaf number {n} with a crust.", "metadata": {"kind": "bread"}} for n in range(30)]
    far = [{"text": "A violin with a crust of old varnish.", "metadata": {"kind": "music", "year": 1720}}]
    await rag.ids(index, *near, *far)
    for wanted in ({"kind": "music"}, {"kind": "music", "year": 1720}):
        found = (await rag.retrieve(index, "bread loaf crust", metadata_filter=wanted)).body["results"]
        assert [node["text"] for node in found] == [far[0]["text"]]
    assert (await rag.retrieve(index, "bread", metadata_filter={"kind": "prose"})).body["results"] == []
    assert (await rag.retrieve(index, "bread", metadata_filter="kind")).status == 422


async def test_questions_asked_at_once_get_their_own_answers(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    replies = await asyncio.gather(*(rag.retrieve(index, text, max_node_count=1) for text in TEXTS * 4))
    assert [r.body["results"][0]["text"] for r in replies] == TEXTS * 4
    assert await rag.metric("rag_indexes_retrieve_requests_total", status="success") >= len(TEXTS) * 4
