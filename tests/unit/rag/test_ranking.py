"""Fusion: what BM25 hardly knows anything of does not outvote what means the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kaito.rag.registry import Indexes
from kaito.rag.retrieve import Query, retrieve
from tests.unit.rag.harness import embed, indexes_at

RIGHT = "the infantryman mislaid a timepiece in the basement"
WORDS = [f"{thing} stood there when the morning came" for thing in ("a cart", "a boat", "a tower", "a mill", "a barn")]


async def ranked(indexes: Indexes, text: str, vector: str, **more: object) -> list[str]:
    """`vector`: the text that the query means."""
    query = Query(text, 3, **more)  # type: ignore[arg-type]
    found = await retrieve(indexes.get("docs"), query, np.asarray(embed(vector)), indexes.threads)
    return [one.text for one in found]


async def test_a_common_word_of_a_paraphrase_has_no_vote(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("docs", [(text, {}) for text in [*WORDS, RIGHT]])
        paraphrase = "soldier lost clock cellar morning"
        assert (await ranked(indexes, paraphrase, RIGHT))[0] == RIGHT
        assert RIGHT not in await ranked(indexes, paraphrase, RIGHT, mode="sparse")


async def test_a_query_that_a_document_says_is_decided_by_words_too(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("docs", [(text, {}) for text in [*WORDS, RIGHT]])
        assert (await ranked(indexes, "tower morning", "something else"))[0] == WORDS[2]
