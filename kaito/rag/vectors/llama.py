"""Any vector store that LlamaIndex has an integration for, as one of ours.

The integrations' synchronous calls run on threads of the store's own: their local modes have no other, and a thread a
call is what keeps a slow server off the event loop. Metadata is stored under hashed names with hashed values, one pair
an entry, so that every store filters by plain equality of strings, whatever characters, types and reserved names it
knows; the equality is the index's own (1 is 1.0, but neither true nor "1").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from kaito.rag.generation import field_term
from kaito.rag.postings import Float32s
from kaito.rag.vectors import Hits, VectorEntry, VectorStoreUnavailable, Where, node_id, number_of, storable

T = TypeVar("T")
BATCH = 256
FEW_NUMBERS = 1024  # a filter that leaves no more nodes than this is sent as their ids
HASH_CHARACTERS = 24
Fetch = Callable[[list[str]], Mapping[str, Sequence[float]]]  # node ids → vectors


def hashed_fields(fields: Mapping[str, Any]) -> dict[str, str]:
    """One pair of strings an entry, equal exactly where the index holds the entries to be equal."""
    return {f"f_{_hash(key)}": _hash(field_term(key, value)) for key, value in fields.items()}


def _hash(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:HASH_CHARACTERS]


class LlamaVectors:
    """The vectors of one index in one collection. `fetch` returns vectors, where the store can.

    `forget` deletes the collection, `release` gives back what the store shares with others.
    """

    is_embedded = False

    def __init__(
        self,
        index_uid: str,
        store: BasePydanticVectorStore,
        *,
        name: str,
        threads: ThreadPoolExecutor,
        fetch: Fetch,
        exists: Callable[[], bool],
        forget: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self.name = name
        self._uid = index_uid
        self._store = store
        self._threads = threads
        self._fetch = fetch
        self._exists = exists
        self._forget = forget
        self._release = release
        self._is_there = False  # once there, a collection stays until it is dropped

    async def add(self, entries: Sequence[VectorEntry]) -> None:
        for start in range(0, len(entries), BATCH):
            nodes = [self._node(entry) for entry in entries[start : start + BATCH]]
            await self._call(lambda nodes=nodes: self._store.add(nodes))  # type: ignore[misc]

    def _node(self, entry: VectorEntry) -> TextNode:
        return TextNode(
            id_=node_id(self._uid, entry.number),
            text=storable(entry.text),
            embedding=entry.vector.tolist(),
            metadata=hashed_fields(entry.metadata),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=storable(entry.doc_id))},
        )

    async def delete(self, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), BATCH):
            ids = [node_id(self._uid, number) for number in numbers[start : start + BATCH]]
            await self._call(lambda ids=ids: self._store.delete_nodes(ids) if self._has_any() else None)  # type: ignore[misc]

    def view(self) -> LlamaVectors:
        return self

    async def search(self, query: Float32s, k: int, where: Where | None) -> Hits:
        if where is not None and not len(where.numbers):
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        asked = VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=k)
        if where is not None and len(where.numbers) <= FEW_NUMBERS:
            asked.node_ids = [node_id(self._uid, number) for number in where.numbers.tolist()]
        elif where is not None:
            pairs = hashed_fields(where.fields).items()
            asked.filters = MetadataFilters(filters=[MetadataFilter(key=key, value=value) for key, value in pairs])
        found = await self._call(lambda: self._store.query(asked) if self._has_any() else None)
        if found is None:
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        numbers = np.array([number_of(one) for one in found.ids or []], np.int64)
        similarities = np.array(found.similarities or [], np.float32)
        order = np.argsort(-similarities, kind="stable")
        if where is not None:
            order = order[np.isin(numbers[order], where.numbers)]
        return Hits(numbers[order][:k], similarities[order][:k])

    async def vectors(self, numbers: Sequence[int]) -> dict[int, Float32s]:
        ids = [node_id(self._uid, number) for number in numbers]
        found = await self._call(lambda: self._fetch(ids) if ids and self._has_any() else {})
        return {number_of(one): np.asarray(vector, np.float32) for one, vector in found.items()}

    async def tend(self, turn: asyncio.Lock) -> None:
        """Nothing: these stores look after themselves."""

    async def drop(self) -> None:
        await self._call(lambda: self._forget() if self._has_any() else None)
        self._is_there = False

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._release)

    def _has_any(self) -> bool:
        """Whether the collection is there: the integrations make it at the first addition."""
        self._is_there = self._is_there or self._exists()
        return self._is_there

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:
            raise VectorStoreUnavailable(f"{self.name}: {error}. Check VECTOR_DB_URL and that it is up.") from error
