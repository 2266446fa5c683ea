"""Milvus through LlamaIndex's integration: a server, or Milvus Lite in a file of the storage where no URL is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.vector_stores.milvus import MilvusVectorStore

from kaito.rag.settings import RagSettings
from kaito.rag.vectors.llama import LlamaVectors
from kaito.rag.vectors.shared import SharedClients

clients = SharedClients(lambda address, secret: None, lambda client: None)  # pymilvus shares connections itself
IDS_MAX = 1000  # of one request


def open_milvus(settings: RagSettings, index_uid: str, dimensions: int) -> LlamaVectors:
    """Blocking. The collection is `kaito_<uid>`; reads see every acknowledged write (consistency Strong)."""
    is_local = not settings.vector_store_url
    address = settings.vector_store_url or str(settings.storage / "milvus.db")
    secret = settings.vector_store_secret if not is_local else ""
    if is_local:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
    shared = clients.acquire(address, secret, is_local=is_local)
    name = f"kaito_{index_uid}"

    def make() -> MilvusVectorStore:
        return MilvusVectorStore(
            uri=address,
            token=secret,
            collection_name=name,
            dim=dimensions,
            similarity_metric="COSINE",
            consistency_level="Strong",
            upsert_mode=True,
        )

    store = shared.threads.submit(make).result()
    client: Any = store.client

    def fetch(ids: list[str]) -> Mapping[str, Sequence[float]]:
        found: dict[str, Sequence[float]] = {}
        for start in range(0, len(ids), IDS_MAX):
            rows = client.get(name, ids[start : start + IDS_MAX], output_fields=["id", "embedding"])
            found |= {row["id"]: row["embedding"] for row in rows}
        return found

    return LlamaVectors(
        index_uid,
        store,
        name=f"Milvus at {address}",
        threads=shared.threads,
        fetch=fetch,
        exists=lambda: True,  # made when the store was opened
        forget=lambda: client.drop_collection(name),
        release=lambda: clients.release(address, secret),
    )
