"""VECTOR_DB_TYPE to vector stores. To add one: a function of (settings, index uid, dimensions), and its name here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from kaito.rag.settings import RagSettings, SettingsInvalid
from kaito.rag.vectors import VectorStore
from kaito.rag.vectors.faiss_store import FaissStore

SEARCH_THREADS = 4


async def _faiss(threads: ThreadPoolExecutor, settings: RagSettings, uid: str, dimensions: int) -> VectorStore:
    return FaissStore(threads)


STORES: dict[str, Callable[[ThreadPoolExecutor, RagSettings, str, int], Awaitable[VectorStore]]] = {"faiss": _faiss}


def store_maker(settings: RagSettings) -> Callable[[str, int], Awaitable[VectorStore]]:
    """Makes the configured store for an index, from its uid and dimensions. Raises SettingsInvalid."""
    kind = settings.vector_store.lower()
    if kind not in STORES:
        raise SettingsInvalid(f"VECTOR_DB_TYPE={settings.vector_store!r}: expected one of {', '.join(sorted(STORES))}")
    threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="vectors")
    return partial(STORES[kind], threads, settings)
