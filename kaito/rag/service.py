"""What the routes share: settings, indexes, embedding, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kaito.rag.embed import Embedding
from kaito.rag.index import Index
from kaito.rag.metrics import Metrics
from kaito.rag.postings import Float32s
from kaito.rag.registry import Indexes
from kaito.rag.retrieve import Found, Query, retrieve
from kaito.rag.settings import RagSettings

RERANKED_FACTOR = 4  # candidates that the reranker reads for one that is wanted


class Reranks(Protocol):
    async def scores(self, query: str, passages: Sequence[str]) -> list[float]: ...


@dataclass(slots=True)
class Service:
    settings: RagSettings
    indexes: Indexes
    embedding: Embedding
    metrics: Metrics
    reranker: Reranks | None = None

    async def find(self, index: Index, query: Query) -> list[Found]:
        """Raises EmbeddingFailed, VectorStoreUnavailable."""
        return await self.search(index, query, await self.embed(query))

    async def embed(self, query: Query) -> Float32s | None:
        """None where the query needs no vector. Raises EmbeddingFailed."""
        if query.mode == "sparse":
            return None
        with self.metrics.embedding(self.embedding.mode):
            return await self.embedding.query(query.text)

    async def search(self, index: Index, query: Query, vector: Float32s | None) -> list[Found]:
        """Raises EmbeddingFailed (the reranker's), VectorStoreUnavailable."""
        if self.reranker is None or not query.use_reranker:
            with self.metrics.store("query"):
                return await retrieve(index, query, vector, self.indexes.threads)
        wanted = max(query.count, self.settings.reranker_top) * RERANKED_FACTOR
        with self.metrics.store("query"):
            found = await retrieve(index, replace(query, count=wanted), vector, self.indexes.threads)
        scores = await self.reranker.scores(query.text, [one.text for one in found])
        ranked = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])
        return [replace(one, score=score) for score, one in ranked[: query.count]]
