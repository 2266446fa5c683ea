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
    """`similarity`: cosine, None where the vector is not known; `bm25`: 0 where no term matches."""

    number: int
    document: Document
    text: str
    score: float
    similarity: float | None
    bm25: float

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
    generation = reading.generation
    vector = None if query.mode == "sparse" else vector
    pool = max(POOL_FACTOR * query.count, POOL_MIN)

    def look() -> tuple[Where | None, Lexical]:
        return where_of(generation, query.fields), lexical(generation, query, pool)

    where, words = await asyncio.get_running_loop().run_in_executor(threads, look)
    dense = {} if vector is None else await _dense(index, reading, vector, pool, where)
    ranking = fuse([list(dense), words.sparse, words.exact])[: max(pool, query.count)]
    exact = set(words.exact)
    if vector is not None and query.similarity_min is not None:
        dense |= await _similarities(reading, vector, [number for number, _ in ranking if number not in dense])
        nearest = query.similarity_min
        ranking = [one for one in ranking if one[0] in exact or dense.get(one[0], -1.0) >= nearest]
    if query.mmr_lambda is not None and len(ranking) > 1:
        ranking = await diversified(reading, ranking, query.count, query.mmr_lambda)
    ranking = ranking[: query.count]
    if vector is not None:
        dense |= await _similarities(reading, vector, [number for number, _ in ranking if number not in dense])
    return [
        Found(number, *_resolve(generation, number), score, dense.get(number), words.bm25.get(number, 0.0))
        for number, score in ranking
    ]


def _resolve(generation: Generation, number: int) -> tuple[Document, str]:
    place = generation.find(number)
    assert place is not None, f"node {number} is not in the generation that ranked it"
    segment, row = place
    return segment.documents[segment.document_of[row]], segment.node_text(row)


def where_of(generation: Generation, fields: Mapping[str, Any] | None) -> Where | None:
    """Takes CPU time: for a worker thread."""
    if not fields:
        return None
    wanted = generation.filter_terms(fields)
    numbers = [part.segment.numbers[generation.mask(part, wanted)] for part in generation.parts]
    return Where(fields, np.concatenate(numbers) if numbers else np.empty(0, np.int64))


async def _dense(index: Index, reading: Reading, vector: Float32s, pool: int, where: Where | None) -> dict[int, float]:
    """Similarity of each of the nearest nodes, best first."""
    if index.store.is_embedded:  # its view is of the same moment as the generation
        hits = await reading.vectors.search(vector, pool, where)
        return dict(zip(hits.numbers.tolist(), hits.similarities.tolist(), strict=True))
    hits = await reading.vectors.search(vector, pool + OVERFETCH, where)
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


async def diversified(
    reading: Reading, ranking: Sequence[tuple[int, float]], count: int, share: float
) -> list[tuple[int, float]]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): share × relevance − (1 − share) × likeness."""
    rows = await reading.vectors.vectors([number for number, _ in ranking])
    known = [one for one in ranking if one[0] in rows]
    if len(known) < 2:
        return list(ranking)
    matrix = np.stack([rows[number] for number, _ in known])
    relevance = np.array([score for _, score in known])
    relevance = relevance / relevance.max()
    likeness = np.full(len(known), -1.0)
    chosen: list[int] = []
    left = np.ones(len(known), np.bool_)
    while len(chosen) < min(count, len(known)):
        penalty = likeness if chosen else np.zeros(len(known))
        worth = np.where(left, share * relevance - (1 - share) * penalty, -np.inf)
        best = int(worth.argmax())
        chosen.append(best)
        left[best] = False
        likeness = np.maximum(likeness, matrix @ matrix[best])
    return [known[at] for at in chosen]
