"""What the routes share: settings, indexes, embedding, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from kaito.rag.embed import Embedding
from kaito.rag.index import Index
from kaito.rag.metrics import Metrics
from kaito.rag.registry import Indexes
from kaito.rag.retrieve import Found, Query, retrieve
from kaito.rag.settings import RagSettings


@dataclass(slots=True)
class Service:
    settings: RagSettings
    indexes: Indexes
    embedding: Embedding
    metrics: Metrics

    async def find(self, index: Index, query: Query) -> list[Found]:
        """Raises EmbeddingFailed, VectorStoreUnavailable."""
        vector = None
        if query.mode != "sparse":
            with self.metrics.embedding(self.embedding.mode):
                vector = await self.embedding.query(query.text)
        with self.metrics.store("query"):
            return await retrieve(index, query, vector, self.indexes.threads)
