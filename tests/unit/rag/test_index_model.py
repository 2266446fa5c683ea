"""An index does what a dictionary does, whatever is added, updated, deleted, persisted, loaded; a crash included."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kaito.rag.ingest import text_id
from kaito.rag.persist.disk import Disk
from kaito.rag.registry import Indexes
from kaito.rag.retrieve import Query, retrieve
from kaito.rag.vectors.stores import store_maker
from tests.unit.rag.harness import HashEmbedding, embed, settings_at

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "user_id", "E12", "pods", "nodes", "", "日本語"])
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
METADATA = st.dictionaries(
    st.sampled_from(["kind", "n"]), st.sampled_from(["a", "b", 1, 1.0, True, None, [1]]), max_size=2
)
NAME = "docs"


class IndexMachine(RuleBasedStateMachine):
    """`model`: id → (text, metadata), in order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, tuple[str, dict[str, Any]]] = {}
        self.copy: dict[str, tuple[str, dict[str, Any]]] | None = None
        self.indexes = self.runner.run(self.open())

    async def open(self) -> Indexes:
        settings = settings_at(Path(self.folder.name), snapshot_log_bytes=4096)
        indexes = Indexes(settings, HashEmbedding(), store_maker(settings), Disk())
        await indexes.open_all()
        return indexes

    def teardown(self) -> None:
        self.runner.run(self.indexes.close())
        self.runner.close()
        self.folder.cleanup()

    @property
    def exists(self) -> bool:
        return NAME in self.indexes.names()

    @rule(given=st.lists(st.tuples(TEXTS, METADATA), min_size=1, max_size=5))
    def add(self, given: list[tuple[str, dict[str, Any]]]) -> None:
        stored = self.runner.run(self.indexes.insert(NAME, given))
        for (text, metadata), document in zip(given, stored, strict=True):
            assert document.text == text
            known = [doc_id for doc_id, (other, _) in self.model.items() if other == text]
            if known:
                assert document.doc_id in known
            else:
                assert document.doc_id == text_id(text) or text_id(text) in self.model
                self.model[document.doc_id] = (text, metadata)
            assert repr(document.metadata) == repr(self.model[document.doc_id][1])

    @rule(texts=st.lists(TEXTS, min_size=1, max_size=3), metadata=METADATA, at=st.integers(0, 20))
    def update(self, texts: list[str], metadata: dict[str, Any], at: int) -> None:
        if not self.exists:
            return
        ids = [*self.model, "absent"]
        given = [(ids[(at + step) % len(ids)], text, metadata) for step, text in enumerate(texts)]
        updated, unchanged, absent = self.runner.run(self.indexes.get(NAME).update(given))
        for position, (doc_id, text, fields) in enumerate(given):
            if doc_id not in self.model:
                assert position in absent
            elif repr(self.model[doc_id]) == repr((text, fields)):
                assert position in unchanged
            else:
                assert position in updated
                del self.model[doc_id]
                self.model[doc_id] = (text, fields)

    @rule(at=st.integers(0, 20), count=st.integers(1, 3))
    def delete(self, at: int, count: int) -> None:
        if not self.exists:
            return
        ids = [*self.model, "absent"]
        wanted = [ids[(at + step) % len(ids)] for step in range(count)]
        deleted, absent = self.runner.run(self.indexes.get(NAME).delete(wanted))
        assert deleted == [one for one in dict.fromkeys(wanted) if one in self.model]
        assert set(absent) == {one for one in wanted if one not in self.model}
        for one in deleted:
            del self.model[one]

    @rule()
    def persist(self) -> None:
        if self.exists:
            self.runner.run(self.indexes.persist(NAME, None))
            self.copy = dict(self.model)

    @rule()
    def load(self) -> None:
        if self.copy is not None:
            self.runner.run(self.indexes.load(NAME, None, overwrite=True))
            self.model = dict(self.copy)

    @rule()
    def snapshot(self) -> None:
        if self.exists:
            self.runner.run(self.indexes.get(NAME).snapshot())

    @rule()
    def crash(self) -> None:
        """Everything in memory is lost: a second opening of the folder finds what was acknowledged."""
        self.indexes, old = self.runner.run(self.open()), self.indexes
        self.runner.run(old.close())

    @invariant()
    def lists_what_the_model_has(self) -> None:
        if not self.exists:
            assert not self.model
            return
        generation = self.indexes.get(NAME).reading.generation
        listed = [(one.doc_id, one.text, one.metadata) for one in generation.documents()]
        assert repr(listed) == repr([(doc_id, text, metadata) for doc_id, (text, metadata) in self.model.items()])
        assert generation.document_count == len(self.model)
        page, total = generation.page(1, 2, None)
        assert (repr([one.doc_id for one in page]), total) == (repr(list(self.model)[1:3]), len(self.model))

    @invariant()
    def finds_what_the_model_has(self) -> None:
        if not self.exists:
            return
        index = self.indexes.get(NAME)
        found = self.runner.run(
            retrieve(index, Query("alpha user_id", 100), embed("alpha user_id"), self.indexes.threads)
        )
        assert {one.document.doc_id for one in found} == set(self.model)
        only = self.runner.run(
            retrieve(index, Query("beta", 100, fields={"kind": "a"}), embed("beta"), self.indexes.threads)
        )
        assert {one.document.doc_id for one in only} == {
            doc_id for doc_id, (_, metadata) in self.model.items() if metadata.get("kind") == "a"
        }
        for one in found:
            assert one.similarity is not None
            node = one.document.nodes[one.number - one.document.first_number]
            assert one.text == node


TestIndexIsADictionary = IndexMachine.TestCase
TestIndexIsADictionary.settings = hypothesis_settings(max_examples=25, stateful_step_count=20)
