"""Qdrant through LlamaIndex's integration: a server, or a folder of the storage where no URL is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from kaito.rag.settings import RagSettings
from kaito.rag.vectors.llama import LlamaVectors
from kaito.rag.vectors.shared import SharedClients

TIMEOUT_S = 60


def _open(address: str, secret: str) -> QdrantClient:
    if "://" in address:
        return QdrantClient(url=address, api_key=secret or None, timeout=TIMEOUT_S)
    return QdrantClient(path=address)


clients = SharedClients(_open, lambda client: client.close())


def open_qdrant(settings: RagSettings, index_uid: str, dimensions: int) -> LlamaVectors:
    """Blocking. The collection is `kaito_<uid>`, with vectors compared by cosine."""
    is_local = not settings.vector_store_url
    address = settings.vector_store_url or str(settings.storage / "qdrant")
    shared = clients.acquire(address, settings.vector_store_secret, is_local=is_local)
    client: QdrantClient = shared.client
    name = f"kaito_{index_uid}"

    def make() -> QdrantVectorStore:
        config = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
        return QdrantVectorStore(collection_name=name, client=client, dense_config=config)

    def fetch(ids: list[str]) -> Mapping[str, Sequence[float]]:
        points = client.retrieve(name, ids, with_payload=False, with_vectors=True)
        return {str(point.id): _dense(point.vector) for point in points}

    return LlamaVectors(
        index_uid,
        shared.threads.submit(make).result(),
        name=f"Qdrant at {address}",
        threads=shared.threads,
        fetch=fetch,
        exists=lambda: client.collection_exists(name),
        forget=lambda: _forget(client, name),
        release=lambda: clients.release(address, settings.vector_store_secret),
    )


def _forget(client: QdrantClient, name: str) -> None:
    client.delete_collection(name)


def _dense(vector: Any) -> Sequence[float]:
    """LlamaIndex names its vectors."""
    dense: Sequence[float] = next(iter(vector.values())) if isinstance(vector, dict) else vector
    return dense
