"""PostgreSQL with pgvector, over asyncpg: a table an index, a graph index once it pays.

LlamaIndex's integration wants SQLAlchemy below 2.1, which the rest of LlamaIndex has left behind, and keeps metadata as
JSON that it compares as text. Here the index's own terms are an array with an inverted index, and a filtered search
compares exactly those rows that match: never fewer results than there are.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import numpy as np

from kaito.rag.generation import field_terms
from kaito.rag.postings import Float32s
from kaito.rag.settings import RagSettings
from kaito.rag.vectors import Hits, VectorEntry, VectorStoreUnavailable, Where, storable

T = TypeVar("T")
CONNECTIONS_MAX = 4  # of one index
TIMEOUT_S = 60.0
GRAPH_ROWS = 16_384  # below, a scan is exact and takes milliseconds
GRAPH_DIMENSIONS_MAX = 2000  # pgvector's bound
SEARCH_MIN, SEARCH_MAX = 100, 1000  # hnsw.ef_search


class PgVectors:
    """The vectors of one index in the table `kaito_<uid>`."""

    is_embedded = False

    def __init__(self, pool: asyncpg.Pool, index_uid: str, dimensions: int, address: str) -> None:
        self._pool = pool
        self._table = f"kaito_{index_uid}"
        self._dimensions = dimensions
        self._address = address
        self._has_graph = False

    async def prepare(self) -> None:
        """Makes the table where there is none."""

        async def work(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                # Two that make the extension or the table at once collide in the catalogue: one at a time.
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext('kaito'))")
                await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._table} (number bigint PRIMARY KEY, doc_id text NOT NULL, "
                    f"text text NOT NULL, fields text[] NOT NULL, embedding vector({self._dimensions}) NOT NULL)"
                )
                await connection.execute(
                    f"CREATE INDEX IF NOT EXISTS {self._table}_fields ON {self._table} USING gin (fields)"
                )
                self._has_graph = bool(await connection.fetchval("SELECT to_regclass($1)", f"{self._table}_graph"))

        await self._run(work)

    async def add(self, entries: Sequence[VectorEntry]) -> None:
        rows = [
            (one.number, storable(one.doc_id), storable(one.text), _fields(one.metadata), _literal(one.vector))
            for one in entries
        ]
        statement = (
            f"INSERT INTO {self._table} (number, doc_id, text, fields, embedding) "
            "VALUES ($1, $2, $3, $4, $5::text::vector) ON CONFLICT (number) DO UPDATE SET doc_id = excluded.doc_id, "
            "text = excluded.text, fields = excluded.fields, embedding = excluded.embedding"
        )
        await self._run(lambda connection: connection.executemany(statement, rows))

    async def delete(self, numbers: Sequence[int]) -> None:
        statement = f"DELETE FROM {self._table} WHERE number = ANY($1::bigint[])"
        await self._run(lambda connection: connection.execute(statement, list(numbers)))

    def view(self) -> PgVectors:
        return self

    async def search(self, query: Float32s, k: int, where: Where | None) -> Hits:
        async def work(connection: asyncpg.Connection) -> list[Any]:
            async with connection.transaction(readonly=True):
                effort = min(max(SEARCH_MIN, k), SEARCH_MAX)
                if where is None:
                    await connection.execute(f"SET LOCAL hnsw.ef_search = {effort}")
                    found: list[Any] = await connection.fetch(self._nearest(self._table, k), _literal(query))
                    return found
                matching = (
                    f"WITH matching AS MATERIALIZED (SELECT number, embedding FROM {self._table} "
                    "WHERE fields @> $2::text[]) "
                )
                wanted = _fields(where.fields)
                filtered: list[Any] = await connection.fetch(
                    matching + self._nearest("matching", k), _literal(query), wanted
                )
                return filtered

        rows = await self._run(work)
        numbers = np.array([row["number"] for row in rows], np.int64)
        similarities = np.array([row["similarity"] for row in rows], np.float32)
        if where is not None:
            kept = np.isin(numbers, where.numbers)
            numbers, similarities = numbers[kept], similarities[kept]
        return Hits(numbers, similarities)

    @staticmethod
    def _nearest(table: str, k: int) -> str:
        return (
            f"SELECT number, 1 - (embedding <=> $1::text::vector) AS similarity FROM {table} "
            f"ORDER BY embedding <=> $1::text::vector LIMIT {int(k)}"
        )

    async def vectors(self, numbers: Sequence[int]) -> dict[int, Float32s]:
        statement = f"SELECT number, embedding::text FROM {self._table} WHERE number = ANY($1::bigint[])"
        rows = await self._run(lambda connection: connection.fetch(statement, list(numbers)))
        return {row["number"]: np.array(row["embedding"][1:-1].split(","), np.float32) for row in rows}

    async def tend(self, turn: asyncio.Lock) -> None:
        """Builds the graph index once the table has outgrown scans; the server keeps it up from then on."""
        if self._has_graph or self._dimensions > GRAPH_DIMENSIONS_MAX:
            return

        async def work(connection: asyncpg.Connection) -> bool:
            if await connection.fetchval(f"SELECT count(*) FROM {self._table}") < GRAPH_ROWS:
                return False
            await connection.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {self._table}_graph ON {self._table} "
                "USING hnsw (embedding vector_cosine_ops)",
                timeout=math.inf,
            )
            return True

        self._has_graph = await self._run(work)

    async def drop(self) -> None:
        await self._run(lambda connection: connection.execute(f"DROP TABLE IF EXISTS {self._table}"))

    async def close(self) -> None:
        await self._pool.close()

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        try:
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                return await work(connection)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _unavailable(self._address, error) from error


async def open_pgvector(settings: RagSettings, index_uid: str, dimensions: int) -> PgVectors:
    """Raises VectorStoreUnavailable. `VECTOR_DB_URL` is a postgresql:// URL; the secret is its password."""
    shown = settings.vector_store_url.rpartition("@")[2]
    try:
        pool = await asyncpg.create_pool(
            settings.vector_store_url,
            password=settings.vector_store_secret or None,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            command_timeout=TIMEOUT_S,
        )
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unavailable(shown, error) from error
    store = PgVectors(pool, index_uid, dimensions, shown)
    await store.prepare()
    return store


def _unavailable(address: str, error: BaseException) -> VectorStoreUnavailable:
    said = str(error) or type(error).__name__
    return VectorStoreUnavailable(f"PostgreSQL at {address}: {said}. Check VECTOR_DB_URL and that pgvector is there.")


def _literal(vector: Float32s) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def _fields(metadata: Any) -> list[str]:
    return [storable(term) for term in field_terms(metadata)]
