"""Ranking: BM25 is BM25 however the rows are spread over segments; identifiers are found; filters, thresholds, MMR."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.rag.analysis import identifiers, terms
from kaito.rag.generation import Document, Generation, Part, build_segment, compacted, field_terms
from kaito.rag.postings import K1, B, Vocabulary
from kaito.rag.retrieve import Query, fuse, lexical, retrieve
from kaito.rag.vectors import VectorEntry, Where, faiss_store
from kaito.rag.vectors.faiss_store import FaissStore
from tests.unit.rag.harness import embed, indexes_at

TEXTS = st.lists(st.sampled_from(["pod", "node", "gpu", "user_id", "E12", "memory"]), max_size=8).map(" ".join)


def generation_of(batches: list[list[str]], dead: set[int]) -> Generation:
    """Rows in as many segments as there are batches, but for what `compacted` merges."""
    words, fields = Vocabulary(), Vocabulary()
    parts: list[Part] = []
    number = 0
    for batch in batches:
        documents = []
        for text in batch:
            documents.append(Document(doc_id=str(number), text=text, metadata={}, first_number=number, nodes=(text,)))
            number += 1
        if documents:
            part = Part.whole(
                build_segment(
                    documents,
                    [words.intern(terms(one.text)) for one in documents],
                    [fields.intern(field_terms(one.metadata)) for one in documents],
                )
            )
            gone = [row for row, one in enumerate(documents) if one.first_number in dead]
            parts.append(part.without(gone) if gone else part)
    return Generation(0, (), words, fields).changed(compacted([part for part in parts if part.alive_count]))


@settings(max_examples=150)
@given(st.lists(st.lists(TEXTS, max_size=4), max_size=5), st.sets(st.integers(0, 19), max_size=4), TEXTS)
def test_bm25_is_the_formula_whatever_the_segments(batches: list[list[str]], dead: set[int], query: str) -> None:
    generation = generation_of(batches, dead)
    alive = {
        number: Counter(terms(text)) for number, text in enumerate(text for batch in batches for text in batch)
        if number not in dead
    }  # fmt: skip
    found = lexical(generation, Query(query, 100, mode="sparse"), 1000).bm25
    # Frequencies count rows that are dead but not yet merged away, as Lucene's do: compare where there are none.
    if any(part.alive_count < len(part.segment) for part in generation.parts):
        assert set(found) <= set(alive)
        return
    mean = max(sum(sum(one.values()) for one in alive.values()) / len(alive), 1.0) if alive else 1.0
    expected: dict[int, float] = {}
    for number, counts in alive.items():
        score = 0.0
        for term in set(terms(query)) & set(counts):
            frequency = sum(term in one for one in alive.values())
            idf = math.log1p((len(alive) - frequency + 0.5) / (frequency + 0.5))
            norm = K1 * (1 - B + B * sum(counts.values()) / mean)
            score += idf * counts[term] * (K1 + 1) / (counts[term] + norm)
        if score:
            expected[number] = score
    assert found == pytest.approx(expected, rel=1e-4)


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    assert fuse([[7, 8], [8]]) == [(8, 1 / 62 + 1 / 61), (7, 1 / 61)]


@pytest.mark.parametrize(
    "name", ["parse_frame_header", "parseFrameHeader", "kaito.rag.index", "E1234", "--max-num-seqs", "v1.2.3", "HTTP/2"]
)
async def test_an_exact_identifier_is_first_among_likenesses(tmp_path: Path, name: str) -> None:
    others = [
        (f"parse the frame and its header, index of kaito rag, max num seqs, version {at}", {}) for at in range(60)
    ]
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("k", [*others[:30], (f"here we call {name} once", {}), *others[30:]])
        question = f"where is {name} used with parse frame header index?"
        found = await retrieve(indexes.get("k"), Query(question, 5), embed(question), indexes.threads)
        assert name in found[0].text


def test_identifiers_are_told_from_words() -> None:
    assert identifiers("Does NodeClaim use max_tokens in the Kaito operator?") == ["=nodeclaim", "=max_tokens"]


async def test_threshold_filter_modes_and_diversity(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        texts = ["alpha beta", "alpha beta gamma", "alpha beta gamma delta", "omega psi"]
        await indexes.insert("k", [(text, {"n": at % 2}) for at, text in enumerate(texts)])
        index, vector = indexes.get("k"), embed("alpha beta")

        async def texts_of(query: Query) -> list[str]:
            return [one.text for one in await retrieve(index, query, vector, indexes.threads)]

        assert (await texts_of(Query("alpha beta", 4)))[0] == "alpha beta"
        assert "omega psi" not in await texts_of(Query("alpha beta", 4, similarity_min=0.3))
        assert await texts_of(Query("alpha beta", 4, fields={"n": 1}, mode="sparse")) == ["alpha beta gamma"]
        assert await texts_of(Query("alpha beta", 4, fields={"n": 7})) == []
        assert (await texts_of(Query("alpha beta", 2, mmr_lambda=0.0)))[1] == "omega psi"


@pytest.mark.parametrize("rows", [50, 3000])
async def test_faiss_store_is_exact_and_its_numbers_stable(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a brute-force search, under additions, replacements, deletions and a graph that is built meanwhile."""
    monkeypatch.setattr(faiss_store, "HNSW_ROWS", 1000)
    rng = np.random.default_rng(rows)
    matrix = rng.normal(size=(rows, 16)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    store = FaissStore()
    alive: dict[int, np.ndarray] = {}
    for start in range(0, rows, 500):
        numbers = range(start, min(start + 500, rows))
        await store.add([VectorEntry(number, matrix[number], "d", "", {}) for number in numbers])
        alive.update((number, matrix[number]) for number in numbers)
        gone = [number for number in list(alive) if number % 7 == 3]
        await store.delete(gone)
        for number in gone:
            del alive[number]
        await store.tend(asyncio.Lock())
    await store.add([VectorEntry(5, matrix[6], "d", "", {})])
    alive[5] = matrix[6]
    hits = 0
    for query in matrix[:40]:
        expected = sorted(alive, key=lambda number: -float(alive[number] @ query))[:10]
        found = await store.view().search(query, 10, None)
        hits += len(set(expected) & set(found.numbers.tolist()))
        assert all(number in alive for number in found.numbers.tolist())
        only = np.array(sorted(number for number in alive if number % 5 == 0), np.int64)
        filtered = await store.view().search(query, 3, Where({}, only))
        best = sorted(only.tolist(), key=lambda number: -float(alive[number] @ query))[:3]
        assert filtered.numbers.tolist() == best
    assert hits >= 0.97 * 400
    assert set(await store.view().vectors(list(alive))) == set(alive)


async def test_inverted_lists_find_what_is_near_and_nothing_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of a million rows and more, on vectors in clusters, as those of documents are."""
    monkeypatch.setattr(faiss_store, "HNSW_ROWS", 1000)
    monkeypatch.setattr(faiss_store, "IVF_ROWS", 2000)
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(40, 16))
    matrix = (centres[rng.integers(40, size=4000)] + 0.15 * rng.normal(size=(4000, 16))).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    store = FaissStore()
    await store.add([VectorEntry(number, matrix[number], "d", "", {}) for number in range(3000)])
    await store.tend(asyncio.Lock())
    (segment,) = store.view().segments
    assert isinstance(segment.index, faiss_store.faiss.IndexIVFFlat)
    await store.add([VectorEntry(number, matrix[number], "d", "", {}) for number in range(3000, 4000)])
    gone = list(range(0, 4000, 9))
    await store.delete(gone)
    alive = np.setdiff1d(np.arange(4000), gone)
    hits = 0
    for query in matrix[1:200:5]:
        nearest = alive[np.argsort(-(matrix[alive] @ query), kind="stable")]
        found = (await store.view().search(query, 10, None)).numbers
        assert len(found) == 10 and np.isin(found, alive).all()
        hits += len(np.intersect1d(found, nearest[:10]))
        only = alive[alive % 5 == 0]
        filtered = (await store.view().search(query, 3, Where({}, only))).numbers
        assert filtered.tolist() == only[np.argsort(-(matrix[only] @ query), kind="stable")[:3]].tolist()
    assert hits >= 0.95 * 400
    known = await store.view().vectors(alive.tolist())
    assert all(np.allclose(known[number], matrix[number]) for number in alive.tolist())
    await store.delete(alive[:1800].tolist())  # enough is dead: it is built anew, without them
    await store.tend(asyncio.Lock())
    assert {number for one in store.view().segments for number in one.numbers[one.alive]} == set(alive[1800:].tolist())
