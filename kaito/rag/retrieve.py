"""Hybrid retrieval: dense, BM25 and exact identifiers, fused by reciprocal ranks (Cormack et al. 2009)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kaito.rag.analysis import identifiers, terms
from kaito.rag.generation import Document, Generation
from kaito.rag.index import Index, Reading
from kaito.rag.postings import Float32s, Int64s, inverse_frequency
from kaito.rag.vectors import Where

RRF_K = 60  # the paper's constant
POOL_FACTOR, POOL_MIN = 3, 50  # candidates of each ranking for one wanted
OVERFETCH = 16  # an external store may know nodes that the reading does not
COMMON_SHARE = 0.2  # an identifier in more of the nodes than this tells nothing
# A node that carries less of what the query says (BM25 against the sum of its terms' weights) has no vote in the
# fusion: of a paraphrase BM25 knows a word or two, and would rank by them alone. In benchmarks/rag.py recall@5 on 2,000
# documents rises from 0.88 to 0.94, for every share from 0.15 to 0.5 alike.
TELLING_SHARE = 0.2

Mode = Literal["hybrid", "dense", "sparse"]


@dataclass(frozen=True, slots=True)
class Query:
    """`similarity_min`: cosine that a result must have, unless it holds an identifier of the query."""

    text: str
    count: int
    fields: Mapping[str, Any] | None = None
    mode: Mode = "hybrid"
    similarity_min: float | None = None
    mmr_lambda: float | None = None  # 1: relevance alone, 0: diversity alone
    use_reranker: bool = False  # where one is configured


@dataclass(frozen=True, slots=True)
class Found:
    """`similarity`: cosine; `bm25`: 0 where no term matches; `ranks`: the rankings that it is in."""

    number: int
    document: Document
    text: str
    score: float
    similarity: float | None
    bm25: float
    is_exact: bool

    @property
    def source(self) -> str:
        if self.similarity is None:
            return "sparse_only"
        return "both" if self.bm25 > 0 else "dense_only"


@dataclass(frozen=True, slots=True)
class Lexical:
    """Rankings that need no model: `sparse` and `exact`, numbers best first; `bm25` of each of them."""

    sparse: list[int]
    exact: list[int]
    bm25: dict[int, float]


async def retrieve(index: Index, query: Query, vector: Float32s | None, threads: Executor) -> list[Found]:
    """Best first, at most `query.count`. `vector`: of the query; None in mode `sparse`."""
    reading = index.reading
    vector = None if query.mode == "sparse" else vector
    pool = max(POOL_FACTOR * query.count, POOL_MIN)
    loop = asyncio.get_running_loop()
    where = await loop.run_in_executor(threads, where_of, reading.generation, query.fields)
    lexical_task = loop.run_in_executor(threads, lexical, reading.generation, query, pool)
    dense = {} if vector is None else await _dense(index, reading, vector, pool, where)
    words = await lexical_task
    ranking = fuse([list(dense), words.sparse, words.exact])
    candidates = ranking[: max(pool, query.count)]
    if vector is not None:
        dense |= await _similarities(reading, vector, [number for number, _ in candidates if number not in dense])
    exact = set(words.exact)
    found = [
        Found(number, document, text, score, dense.get(number), words.bm25.get(number, 0.0), number in exact)
        for number, score in candidates
        if (here := _resolve(reading.generation, number)) is not None
        for document, text in [here]
    ]
    kept = [one for one in found if _is_near(one, query.similarity_min)]
    if query.mmr_lambda is not None and len(kept) > 1:
        return await diversified(reading, kept, query.count, query.mmr_lambda)
    return kept[: query.count]


def _is_near(found: Found, similarity_min: float | None) -> bool:
    return similarity_min is None or found.is_exact or (found.similarity or -1.0) >= similarity_min


def _resolve(generation: Generation, number: int) -> tuple[Document, str] | None:
    if (place := generation.find(number)) is None:
        return None
    segment, row = place
    return segment.documents[segment.document_of[row]], segment.node_text(row)


def where_of(generation: Generation, fields: Mapping[str, Any] | None) -> Where | None:
    if not fields:
        return None
    wanted = generation.filter_terms(fields)
    numbers = [part.segment.numbers[generation.mask(part, wanted)] for part in generation.parts]
    return Where(fields, np.concatenate(numbers) if numbers else np.empty(0, np.int64))


async def _dense(index: Index, reading: Reading, vector: Float32s, pool: int, where: Where | None) -> dict[int, float]:
    extra = 0 if index.store.is_embedded else OVERFETCH
    hits = await reading.vectors.search(vector, pool + extra, where)
    pairs = zip(hits.numbers.tolist(), hits.similarities.tolist(), strict=True)
    return {number: score for number, score in pairs if reading.generation.find(number) is not None}


async def _similarities(reading: Reading, vector: Float32s, numbers: Sequence[int]) -> dict[int, float]:
    if not numbers:
        return {}
    rows = await reading.vectors.vectors(numbers)
    return {number: float(row @ vector) for number, row in rows.items()}


def lexical(generation: Generation, query: Query, pool: int) -> Lexical:
    """Takes CPU time: for a worker thread."""
    if query.mode == "dense":
        return Lexical([], [], {})
    said = set(terms(query.text))
    words = generation.vocabulary.find(said)
    names = _telling(generation, generation.vocabulary.find(identifiers(query.text)))
    weights = _weights(generation, words)
    scores, numbers, holds = _score(generation, words, weights, names, generation.filter_terms(query.fields))
    unknown = len(said) - len(words)
    whole = float(weights.sum()) + unknown * float(inverse_frequency(np.zeros(1, np.int64), generation.node_count)[0])
    best = np.flatnonzero(scores > (TELLING_SHARE * whole if query.mode == "hybrid" else 0))
    if len(best) > pool:
        best = best[np.argpartition(-scores[best], pool - 1)[:pool]]
    order = best[np.argsort(-scores[best], kind="stable")]
    held = np.flatnonzero(holds)
    exact = held[np.lexsort((-scores[held], -holds[held]))][:pool]
    every = np.union1d(order, exact)
    return Lexical(
        numbers[order].tolist(),
        numbers[exact].tolist(),
        dict(zip(numbers[every].tolist(), scores[every].tolist(), strict=True)),
    )


def _telling(generation: Generation, names: Int64s) -> Int64s:
    """Those identifiers that few nodes hold."""
    if not len(names):
        return names
    frequencies = np.sum([part.segment.words.frequencies(names) for part in generation.parts], axis=0)
    kept: Int64s = names[frequencies <= max(1.0, COMMON_SHARE * generation.node_count)]
    return kept


def _weights(generation: Generation, words: Int64s) -> Float32s:
    """Inverse document frequency of each of `words` over the whole index."""
    if not generation.parts:
        return np.empty(0, np.float32)
    frequencies: Int64s = np.sum([part.segment.words.frequencies(words) for part in generation.parts], axis=0)
    return inverse_frequency(frequencies, generation.node_count)


def _score(
    generation: Generation, words: Int64s, weights: Float32s, names: Int64s, wanted: Int64s | None
) -> tuple[Float32s, Int64s, Int64s]:
    """For every row: BM25 (0 where it may not be found), number, how many of `names` it holds."""
    if not generation.parts:
        return np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    parts = generation.parts
    scores: list[Float32s] = []
    holds: list[Int64s] = []
    for part in parts:
        segment = part.segment
        mask = generation.mask(part, wanted)
        scores.append(np.where(mask, segment.words.bm25(words, weights, segment.lengths, generation.mean_length), 0))
        held = np.zeros(len(segment), np.int64)
        for _, start, end in zip(*segment.words.lookup(names), strict=True):
            held[segment.words.rows[start:end]] += 1
        holds.append(np.where(mask, held, 0))
    return np.concatenate(scores), np.concatenate([part.segment.numbers for part in parts]), np.concatenate(holds)


def fuse(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: Σ 1 / (60 + rank) over the rankings that hold a number, highest first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1.0 / (RRF_K + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


async def diversified(reading: Reading, found: Sequence[Found], count: int, share: float) -> list[Found]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): share × relevance − (1 − share) × likeness."""
    rows = await reading.vectors.vectors([one.number for one in found])
    with_vectors = [one for one in found if one.number in rows]
    if len(with_vectors) < 2:
        return list(found[:count])
    matrix = np.stack([rows[one.number] for one in with_vectors])
    relevance = np.array([one.score for one in with_vectors])
    relevance = relevance / relevance.max()
    likeness = np.full(len(with_vectors), -1.0)
    chosen: list[int] = []
    left = np.ones(len(with_vectors), np.bool_)
    while len(chosen) < min(count, len(with_vectors)):
        penalty = likeness if chosen else np.zeros(len(with_vectors))
        worth = np.where(left, share * relevance - (1 - share) * penalty, -np.inf)
        best = int(worth.argmax())
        chosen.append(best)
        left[best] = False
        likeness = np.maximum(likeness, matrix @ matrix[best])
    return [with_vectors[at] for at in chosen]
