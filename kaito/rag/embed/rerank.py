"""A cross-encoder that reads query and passage together; slow and precise, so it sees only the best few."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kaito.rag.embed import EmbeddingFailed


class Reranker:
    """One model, one thread."""

    def __init__(self, model: str, batch: int) -> None:
        """Blocking. Raises EmbeddingFailed."""
        from sentence_transformers import CrossEncoder

        try:
            self._model: Any = CrossEncoder(model)
        except (OSError, ValueError) as error:
            raise EmbeddingFailed(f"LLM_RERANKER_MODEL={model!r} cannot be loaded: {error}") from error
        self._batch = batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rerank")

    async def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """One a passage, higher is better."""
        pairs = [(query, passage) for passage in passages]

        def predict() -> list[float]:
            found = self._model.predict(pairs, batch_size=self._batch, show_progress_bar=False)
            return [float(score) for score in found.reshape(len(pairs), -1)[:, -1]]

        return await asyncio.get_running_loop().run_in_executor(self._thread, predict) if pairs else []

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
