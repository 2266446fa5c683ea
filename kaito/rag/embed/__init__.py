"""Text to vectors of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kaito.rag.postings import Float32s


class Embedding(Protocol):
    """A model that embeds. Safe to call from many tasks: what is asked at the same time is computed together."""

    @property
    def model(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def mode(self) -> str:
        """`local` or `remote`, as the metrics say it."""
        ...

    async def query(self, text: str) -> Float32s:
        """[d]. Raises EmbeddingFailed."""
        ...

    async def documents(self, texts: Sequence[str]) -> Float32s:
        """[n, d], one row a text. Raises EmbeddingFailed."""
        ...

    async def close(self) -> None: ...


class EmbeddingFailed(RuntimeError):
    """The model or its server could not embed; the message says why."""


def usual_threshold(model: str) -> float:
    """The greatest squared distance at which a passage still concerns a question, for this model: 2 - 2 × cosine.

    Upstream's 0.85 suits its default, BGE. MiniLM spreads texts wider: the answers to paraphrased questions of
    `benchmarks/rag_corpus.py` have cosines of 0.42 to 0.67, those to ten questions about this project's docs 0.24 to
    0.58, and unrelated passages there 0.01 to 0.16 (medians).
    """
    return 1.5 if "minilm" in model.lower() else 0.85
