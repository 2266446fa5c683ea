"""An index whose vectors live in an external store: Qdrant's local mode, in the storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito.rag.index import Index
from kaito.rag.registry import Indexes
from kaito.rag.retrieve import Query, retrieve
from tests.unit.rag.harness import embed, indexes_at

pytest.importorskip("qdrant_client")
TEXTS = ["a harbour of stone", "bread in the oven", "tomatoes in the garden", "a violin in the theatre"]


async def nearest(indexes: Indexes, index: Index, text: str, **fields: object) -> list[str]:
    query = Query(text, 2, fields or None, mode="dense")
    return [found.text for found in await retrieve(index, query, embed(text), indexes.threads)]


async def test_a_restart_finds_the_vectors_where_they_are_and_embeds_nothing(tmp_path: Path) -> None:
    async with indexes_at(tmp_path, vector_store="qdrant") as indexes:
        stored = await indexes.insert("docs", [(text, {}) for text in TEXTS])
        await indexes.get("docs").delete([stored[1].doc_id])
        await indexes.get("docs").update([(stored[2].doc_id, "melons in the garden", {"kind": "fruit"})])
    async with indexes_at(tmp_path, vector_store="qdrant") as indexes:
        index = indexes.get("docs")
        assert (await nearest(indexes, index, "harbour"))[0] == TEXTS[0]
        assert TEXTS[1] not in await nearest(indexes, index, "bread oven")
        assert await nearest(indexes, index, "harbour", kind="fruit") == ["melons in the garden"]
        assert indexes.embedding.embedded == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("before", "after"), [("qdrant", "qdrant"), ("qdrant", "faiss"), ("faiss", "qdrant")])
async def test_a_copy_is_found_in_whatever_store_it_is_loaded_into(tmp_path: Path, before: str, after: str) -> None:
    async with indexes_at(tmp_path / "old", vector_store=before) as indexes:
        await indexes.insert("docs", [(text, {}) for text in TEXTS])
        await indexes.persist("docs", None)
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "docs").rename(tmp_path / "new" / "docs")
    async with indexes_at(tmp_path / "new", vector_store=after) as indexes:
        await indexes.load("docs", None, overwrite=False)
        for text in TEXTS:
            assert (await nearest(indexes, indexes.get("docs"), text))[0] == text


async def test_a_deleted_index_leaves_no_collection(tmp_path: Path) -> None:
    async with indexes_at(tmp_path, vector_store="qdrant") as indexes:
        await indexes.insert("docs", [(text, {}) for text in TEXTS])
        await indexes.delete("docs")
    assert [path.name for path in (tmp_path / "qdrant" / "collection").iterdir()] == []
