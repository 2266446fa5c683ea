"""The obvious RAG service: LlamaIndex's VectorStoreIndex on FAISS behind FastAPI, one lock around the index.

Run with `python -m benchmarks.peers.rag_baseline`; the port and the model are in the variables that ours reads too.
"""

from __future__ import annotations

import hashlib
import os
from threading import Lock
from typing import Any

import faiss
import torch
import uvicorn
from fastapi import FastAPI
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.vector_stores.faiss import FaissVectorStore
from pydantic import BaseModel, PrivateAttr
from sentence_transformers import SentenceTransformer

BATCH = 10  # LlamaIndex's default for local models


class MiniLm(BaseEmbedding):
    """The sentence-transformers model as LlamaIndex wants it."""

    _model: Any = PrivateAttr()

    def __init__(self, path: str) -> None:
        super().__init__(model_name=path, embed_batch_size=BATCH)
        self._model = SentenceTransformer(path)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._model.encode(texts, batch_size=BATCH, normalize_embeddings=True).tolist()
        return rows

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class IndexRequest(BaseModel):
    index_name: str
    documents: list[dict[str, Any]]


class RetrieveRequest(BaseModel):
    index_name: str
    query: str
    max_node_count: int = 5


app = FastAPI()
lock = Lock()
indexes: dict[str, VectorStoreIndex] = {}
torch.set_num_threads(1)
embedding = MiniLm(os.environ["LOCAL_EMBEDDING_MODEL_ID"])
DIMENSIONS = len(embedding.get_text_embedding("dimensions"))


@app.get("/indexes")
def names() -> list[str]:
    with lock:
        return list(indexes)


@app.post("/index")
def add(request: IndexRequest) -> list[dict[str, Any]]:
    texts = [one["text"] for one in request.documents]
    nodes = [TextNode(text=text, id_=hashlib.sha256(text.encode()).hexdigest()) for text in texts]
    with lock:
        if request.index_name not in indexes:
            store = FaissVectorStore(faiss.IndexFlatIP(DIMENSIONS))
            context = StorageContext.from_defaults(vector_store=store)
            indexes[request.index_name] = VectorStoreIndex([], storage_context=context, embed_model=embedding)
        indexes[request.index_name].insert_nodes(nodes)
    return [{"doc_id": node.node_id, "text": node.text} for node in nodes]


@app.post("/retrieve")
def retrieve(request: RetrieveRequest) -> dict[str, Any]:
    with lock:
        retriever = indexes[request.index_name].as_retriever(similarity_top_k=request.max_node_count)
        nodes = retriever.retrieve(request.query)
    results = [{"doc_id": node.node_id, "text": node.text, "score": node.score} for node in nodes]
    return {"query": request.query, "results": results, "count": len(results)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["RAG_PORT"]), log_level="warning")
