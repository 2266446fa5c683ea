"""A deterministic embedding that needs no model, and indexes in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from kaito.rag.analysis import terms
from kaito.rag.persist.disk import Disk
from kaito.rag.postings import Float32s
from kaito.rag.registry import Indexes
from kaito.rag.settings import Limits, RagSettings
from kaito.rag.vectors.stores import store_maker

DIMENSIONS = 32


def embed(text: str) -> Float32s:
    """A bag of hashed terms: texts that share words are near."""
    row = np.full(DIMENSIONS, 1e-3, np.float32)
    for term in terms(text):
        row[int(hashlib.sha256(term.encode()).hexdigest(), 16) % DIMENSIONS] += 1
    return (row / np.linalg.norm(row)).astype(np.float32)


class HashEmbedding:
    model, dimensions, mode = "hashed-terms", DIMENSIONS, "local"

    def __init__(self) -> None:
        self.embedded = 0

    async def query(self, text: str) -> Float32s:
        return embed(text)

    async def documents(self, texts: Sequence[str]) -> Float32s:
        self.embedded += len(texts)
        return np.stack([embed(text) for text in texts]) if texts else np.empty((0, DIMENSIONS), np.float32)

    async def close(self) -> None:
        pass


def settings_at(folder: Path, *, limits: Limits | None = None, **given: object) -> RagSettings:
    return replace(RagSettings(storage=folder, limits=limits or Limits()), **given)


@asynccontextmanager
async def indexes_at(
    folder: Path, *, disk: Disk | None = None, limits: Limits | None = None, **given: object
) -> AsyncIterator[Indexes]:
    settings = settings_at(folder, limits=limits, **given)
    indexes = Indexes(settings, HashEmbedding(), store_maker(settings), disk or Disk())
    await indexes.open_all()
    try:
        yield indexes
    finally:
        await indexes.close()
