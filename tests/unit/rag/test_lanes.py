"""Embedding across requests: every text gets its own vector, nobody waits for ever, queries go first but not alone."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.rag.embed.lanes import Lane
from kaito.rag.embed.local import LocalEmbedding
from kaito.rag.embed.turns import DocumentGate, QueryGate, Turns, gates
from kaito.rag.postings import Float32s
from tests.unit.rag.harness import DIMENSIONS, embed

Events = st.lists(
    st.tuples(st.sampled_from(["query", "documents", "done"]), st.integers(1, 40)), min_size=1, max_size=60
)


@given(Events, st.floats(0.1, 5.0))
def test_while_documents_wait_queries_compute_no_more_than_the_bound_and_one_batch(
    events: list[tuple[str, int]], bound_s: float
) -> None:
    turns, alone_s, longest_s = Turns(bound_s), 0.0, 0.0
    for kind, size in events:
        match kind:
            case "query" if turns.may_query:
                turns.query_batch_done(size / 10)
                alone_s = alone_s + size / 10 if turns.documents_waiting else 0.0
                longest_s = max(longest_s, size / 10)
            case "documents":
                turns.documents_came(size)
            case "done" if turns.documents_waiting:
                turns.documents_went(min(size, turns.documents_waiting))
                alone_s = 0.0
        assert alone_s < bound_s + longest_s
        assert turns.may_query or turns.documents_waiting  # whoever is held up waits for something that comes
        if not turns.may_query:
            assert alone_s >= bound_s  # and not sooner than need be


def test_queries_stop_at_the_bound_until_a_batch_of_documents_is_done() -> None:
    """The documents' thread is starved, as a busy machine would; 1 s a batch of queries by this clock."""
    clock = iter(range(1000))
    may_finish = threading.Event()

    def encode_documents(texts: list[str]) -> Float32s:
        may_finish.wait(30)
        return np.ones((len(texts), 2), np.float32)

    def encode_query(texts: list[str]) -> Float32s:
        return np.ones((len(texts), 2), np.float32)

    async def run() -> None:
        for_queries, for_documents = gates(3.0)
        one = Lane(
            "q",
            encode_query,
            for_queries,
            batch_texts_max=1,
            batch_tokens_max=9,
            clock_s=lambda: float(next(clock)),
        )
        other = Lane("d", encode_documents, for_documents, batch_texts_max=1, batch_tokens_max=9)
        documents = asyncio.create_task(other.embed(["d", "d"], [1, 1]))
        await asyncio.sleep(0)
        for _ in range(3):
            await one.embed(["q"], [1])
        fourth = asyncio.create_task(one.embed(["q"], [1]))
        done, _ = await asyncio.wait([fourth], timeout=0.05)
        assert not done
        may_finish.set()
        await asyncio.gather(fourth, documents)
        await one.close()
        await other.close()

    asyncio.run(run())


def hashed(texts: list[str]) -> Float32s:
    return np.stack([embed(text) for text in texts])


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b c", "d " * 9, "x " * 40]), max_size=7), max_size=8),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_every_text_of_every_request_gets_its_own_vector(
    requests: list[list[str]], threads: int, batch: int, tokens: int
) -> None:
    sizes: list[tuple[int, int]] = []

    def encode(texts: list[str]) -> Float32s:
        sizes.append((len(texts), max(len(text) for text in texts)))
        return hashed(texts)

    async def run() -> None:
        embedding = LocalEmbedding(
            "m",
            encode,
            hashed,
            lambda texts: [len(text) for text in texts],
            threads=threads,
            batch_texts=batch,
            batch_tokens=tokens,
        )
        sizes.clear()
        rows = await asyncio.gather(
            *(embedding.documents(texts) for texts in requests), *(embedding.query("q") for _ in requests)
        )
        for texts, found in zip(requests, rows[: len(requests)], strict=True):
            assert found.shape == (len(texts), DIMENSIONS)
            assert all(np.array_equal(row, embed(text)) for row, text in zip(found, texts, strict=True))
        await embedding.close()

    asyncio.run(run())
    assert sum(count for count, _ in sizes) == sum(map(len, requests))
    assert all(count <= batch and (count == 1 or count * longest <= tokens) for count, longest in sizes)


async def test_a_large_request_does_not_hold_up_a_small_one() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> Float32s:
        seen.extend(texts)
        return hashed(texts)

    _, gate = gates(1.0)
    lane = Lane("d", encode, gate, batch_texts_max=4, batch_tokens_max=100)
    large = asyncio.create_task(lane.embed(["large"] * 100, [1] * 100))
    await asyncio.sleep(0)
    await lane.embed(["small"] * 2, [1] * 2)
    assert seen.count("large") <= 12
    await large
    await lane.close()


async def test_a_request_that_is_given_up_or_fails_leaves_the_others_and_the_count_right() -> None:
    def encode(texts: list[str]) -> Float32s:
        if "bad" in texts:
            raise ValueError("bad")
        return hashed(texts)

    turns = Turns(1.0)
    lane = Lane("d", encode, DocumentGate(turns, QueryGate(turns)), batch_texts_max=1, batch_tokens_max=100)
    bad = asyncio.create_task(lane.embed(["bad", "good"], [2, 1]))
    given_up = asyncio.create_task(lane.embed(["given up"] * 5, [1] * 5))
    good = asyncio.create_task(lane.embed(["good"] * 3, [1] * 3))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(ValueError, match="bad"):
        await bad
    assert len(await good) == 3
    await lane.close()
    assert turns.documents_waiting == 0
