"""The seam of the vector stores.

An index owns its documents, its BM25 postings and its log; a `VectorStore` holds nothing but the vectors of that
index's nodes, under their numbers. Whatever a store forgets or half does, the index's log can give it again.

To add a store that LlamaIndex has an integration for, write a function that makes its `BasePydanticVectorStore` for one
index (one collection or table per index) and wrap it in `kaito.rag.vectors.llama.LlamaVectors`; then name it in
`kaito.rag.vectors.stores.STORES`. The contract suite of vector stores is what a store must pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from kaito.rag.postings import Float32s, Int64s


@dataclass(frozen=True, slots=True)
class VectorEntry:
    """A node as a store gets it. `number`: unique in its index, ascending, never used again. `vector` [d], length 1."""

    number: int
    vector: Float32s
    doc_id: str
    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """A filter in both the forms that stores understand; a store uses the one that it can push down.

    `fields`: metadata that a node must have, all of it, by equality. `numbers` [m] ascending: exactly the nodes that
    may be found (alive in the reader's generation, and matching `fields`).
    """

    fields: Mapping[str, Any]
    numbers: Int64s


@dataclass(frozen=True, slots=True)
class Hits:
    """Best first. `numbers` [k], `similarities` [k]: cosine, in [-1, 1]."""

    numbers: Int64s
    similarities: Float32s


class VectorView(Protocol):
    """What a reader holds on to. It may know nodes that were added or deleted since: the index leaves them out."""

    async def search(self, query: Float32s, k: int, where: Where | None) -> Hits:
        """At most k nearest nodes to `query` [d] (length 1) by cosine similarity, among those that `where` allows."""
        ...

    async def vectors(self, numbers: Sequence[int]) -> dict[int, Float32s]:
        """The vectors of those of `numbers` that are there; a store that cannot return vectors returns none."""
        ...


class VectorStore(Protocol):
    """The vectors of one index. Writes come from one task at a time; searches come from many, at any time.

    Every write is idempotent, for after a crash the index repeats what its log has: adding a number that is there
    replaces it, deleting one that is not there does nothing. A write returns when it is visible to views taken from
    then on. A store that cannot be reached raises `VectorStoreUnavailable`.
    """

    @property
    def is_embedded(self) -> bool:
        """Whether the vectors live in this process (then the log carries them, and a restart adds them all again)."""
        ...

    async def add(self, entries: Sequence[VectorEntry]) -> None: ...

    async def delete(self, numbers: Sequence[int]) -> None: ...

    def view(self) -> VectorView:
        """An immutable or at least always consistent reader, cheap to take."""
        ...

    async def tend(self, turn: asyncio.Lock) -> None:
        """Maintenance that may take long (building a graph index, say); called after writes, while others may write.

        Whoever holds `turn` is the writer: work without it, and take it to put the result in place.
        """
        ...

    async def drop(self) -> None:
        """Deletes the vectors for good."""
        ...

    async def close(self) -> None: ...


class VectorStoreUnavailable(ConnectionError):
    """The store did not answer; the message names it and says what to check."""


def node_id(index_uid: str, number: int) -> str:
    """A UUID, as every store takes for an id: the index in its upper half, the node's number in the lower."""
    return str(UUID(int=(int(index_uid[:16], 16) << 64) | number))


def number_of(node_id: str) -> int:
    """The number in a `node_id`."""
    return UUID(node_id).int & ((1 << 64) - 1)


def storable(text: str) -> str:
    """The text as every database takes it, without NUL and lone surrogates; the index has it as it was."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
