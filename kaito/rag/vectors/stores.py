"""VECTOR_DB_TYPE to vector stores. To add one: a function of (settings, index uid, dimensions), and its name here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec

from kaito.rag.settings import RagSettings, SettingsInvalid
from kaito.rag.vectors import VectorStore, VectorStoreUnavailable
from kaito.rag.vectors.faiss_store import FaissStore

SEARCH_THREADS = 4


async def _faiss(threads: ThreadPoolExecutor, settings: RagSettings, uid: str, dimensions: int) -> VectorStore:
    return FaissStore(threads)


async def _qdrant(threads: ThreadPoolExecutor, settings: RagSettings, uid: str, dimensions: int) -> VectorStore:
    from kaito.rag.vectors.qdrant import open_qdrant

    return await asyncio.to_thread(_opened, lambda: open_qdrant(settings, uid, dimensions), "Qdrant")


async def _milvus(threads: ThreadPoolExecutor, settings: RagSettings, uid: str, dimensions: int) -> VectorStore:
    from kaito.rag.vectors.milvus import open_milvus

    return await asyncio.to_thread(_opened, lambda: open_milvus(settings, uid, dimensions), "Milvus")


async def _pgvector(threads: ThreadPoolExecutor, settings: RagSettings, uid: str, dimensions: int) -> VectorStore:
    from kaito.rag.vectors.pgvector import open_pgvector

    return await open_pgvector(settings, uid, dimensions)


def _opened(make: Callable[[], VectorStore], name: str) -> VectorStore:
    try:
        return make()
    except Exception as error:  # the clients raise what their transports raise
        raise VectorStoreUnavailable(f"{name} cannot be opened: {error}. Check VECTOR_DB_URL.") from error


STORES: dict[str, Callable[[ThreadPoolExecutor, RagSettings, str, int], Awaitable[VectorStore]]] = {
    "faiss": _faiss,
    "qdrant": _qdrant,
    "milvus": _milvus,
    "pgvector": _pgvector,
}
MODULES = {"qdrant": "qdrant_client", "milvus": "pymilvus", "pgvector": "asyncpg"}  # what each extra brings


def store_maker(settings: RagSettings) -> Callable[[str, int], Awaitable[VectorStore]]:
    """Makes the configured store for an index, from its uid and dimensions. Raises SettingsInvalid."""
    kind = settings.vector_store.lower()
    if kind not in STORES:
        raise SettingsInvalid(f"VECTOR_DB_TYPE={settings.vector_store!r}: expected one of {', '.join(sorted(STORES))}")
    if kind in MODULES and find_spec(MODULES[kind]) is None:
        raise SettingsInvalid(f"VECTOR_DB_TYPE={kind}: install it with pip install 'kaito[rag,rag-{kind}]'")
    if kind == "pgvector" and not settings.vector_store_url:
        raise SettingsInvalid("VECTOR_DB_TYPE=pgvector: set VECTOR_DB_URL to postgresql://user@host/database")
    threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="vectors")
    return partial(STORES[kind], threads, settings)
