"""A found node as the API shows it."""

from __future__ import annotations

from typing import Any

from kaito.rag.retrieve import Found
from kaito.rag.vectors import node_id


def node_with_score(found: Found, uid: str) -> dict[str, Any]:
    return {
        "doc_id": found.document.doc_id,
        "node_id": node_id(uid, found.number),
        "text": found.text,
        "score": found.score,
        "dense_score": found.similarity,
        "sparse_score": found.bm25 or None,
        "source": found.source,
        "metadata": found.document.metadata,
    }
