"""A snapshot's columns are what splitting its documents into terms anew gives."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kaito.rag import analysis
from kaito.rag.index import Index
from kaito.rag.persist import columns as columns_module
from kaito.rag.persist.folder import read_snapshot
from kaito.rag.persist.records import Columns
from kaito.rag.retrieve import Query, lexical
from tests.unit.rag.harness import indexes_at

QUERIES = ["alpha beta", "user_id E-1042", "max_tokens parse_header", "node 17", "日本語のテキスト", "nothing of it"]


def _texts(start: int, stop: int) -> list[tuple[str, dict[str, object]]]:
    return [
        (
            f"alpha node {n} of user_id, E-{1000 + n} " + ("beta " * (n % 5)) + "日本語のテキスト",
            {"n": n % 3, "s": str(n)},
        )
        for n in range(start, stop)
    ]


def _answers(index: Index, *, with_scores: bool = True) -> list[object]:
    """Without the scores where deleted rows, which count until they are merged away, may lie in other segments."""
    generation = index.reading.generation
    found: list[object] = [generation.document_count, generation.node_count, round(generation.mean_length, 6)]
    for text in QUERIES:
        for fields in (None, {"n": 1}, {"s": "7"}):
            ranked = lexical(generation, Query(text, 10, fields, mode="sparse"), 1000)
            scores = {number: round(score, 4) if with_scores else 0 for number, score in ranked.bm25.items()}
            found.append((scores, set(ranked.exact)))
    return found


@pytest.mark.parametrize("writes_after", [0, 30])
async def test_a_restart_from_columns_ranks_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes_after: int
) -> None:
    async with indexes_at(tmp_path) as indexes:
        stored = await indexes.insert("k", _texts(0, 80))
        index = indexes.get("k")
        await index.delete([one.doc_id for one in stored[::9]])
        await index.snapshot()
        if writes_after:
            await index.delete([one.doc_id for one in stored[4::9]])
            await index.update([(stored[2].doc_id, "parse_header of max_tokens", {"n": 1})])
            await indexes.insert("k", _texts(80, 80 + writes_after))
        before = _answers(index, with_scores=False)
    split: list[str] = []

    def count(text: str) -> list[str]:
        split.append(text)
        return analysis.terms(text)

    monkeypatch.setattr("kaito.rag.index.terms", count)
    async with indexes_at(tmp_path) as indexes:
        assert _answers(indexes.get("k"), with_scores=False) == before
        assert len(split) == (writes_after + 1 if writes_after else 0)
        from_columns = _answers(indexes.get("k"))
    monkeypatch.setattr(columns_module, "ANALYSIS", analysis.ANALYSIS + 1)  # of another version: split anew
    async with indexes_at(tmp_path) as indexes:
        assert _answers(indexes.get("k"), with_scores=False) == before
        if not writes_after:
            assert _answers(indexes.get("k")) == from_columns


async def test_a_copy_carries_its_columns(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("k", _texts(0, 20))
        await indexes.persist("k", None)
        whole = read_snapshot(tmp_path / "k" / "index.kaito")
        assert whole is not None
        (columns,) = [one for one in whole[1] if isinstance(one, Columns)]
        assert len(np.frombuffer(columns.lengths, "<f4")) == 20
        await indexes.load("copy", "k", overwrite=False)
        assert _answers(indexes.get("copy")) == _answers(indexes.get("k"))


def test_what_terms_returns_has_not_changed_without_its_number() -> None:
    """Snapshots hold terms: whoever changes the analysis raises ANALYSIS, and then this checksum."""
    sample: Sequence[str] = (
        "The operator's NodeClaims weren't provisioned: see kaito.rag/index.py:42, E-1042 and v1.2.3-rc1!",
        "def parse_header(maxTokens=512): return HTTPServer('ünïcode', 0x1F)",
        "日本語のテキスト и русский текст, naïve café 4711",
    )
    joined = "\n".join(" ".join(analysis.terms(text)) for text in sample)
    assert (analysis.ANALYSIS, zlib.crc32(joined.encode())) == (1, CHECKSUM)


CHECKSUM = 1235521577
