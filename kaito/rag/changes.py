"""What a turn of the writer does to the documents: decided by a pure function over the catalogue, then committed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np

from kaito.rag.generation import Document
from kaito.rag.ingest import Prepared, content_hash, text_id
from kaito.rag.persist.records import Change
from kaito.rag.postings import Float32s
from kaito.rag.settings import Limits
from kaito.rag.vectors import VectorEntry

Ready: TypeAlias = tuple[Prepared, Float32s]


class QuotaExceeded(Exception):
    """A bound on what is stored; the message names it and its setting."""


class Overtaken(Exception):
    """Another request changed the documents between this one's preparation and its turn; asking again helps."""


@dataclass(slots=True)
class Insertion:
    """`texts`: in the request's order; `prepared` and `vectors`: those that were not there when it came."""

    prepared: list[Prepared]
    vectors: list[Float32s]
    texts: list[str]


@dataclass(slots=True)
class Update:
    """`given`: (doc_id, text, metadata); `ready`: by position, those that were a change when the request came."""

    given: list[tuple[str, str, dict[str, Any]]]
    ready: dict[int, Ready]


@dataclass(slots=True)
class Deletion:
    doc_ids: list[str]


Job: TypeAlias = Insertion | Update | Deletion


@dataclass(slots=True)
class Turn:
    """The sum of a batch of jobs. `outcomes`: one a job, an exception where it could not be done."""

    outcomes: list[Any] = field(default_factory=list)
    put: dict[str, tuple[Document, Ready]] = field(default_factory=dict)
    removed: dict[str, Document] = field(default_factory=dict)  # as they were before the turn
    next_number: int = 0
    size_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.put and not self.removed

    @property
    def documents(self) -> list[Document]:
        return [document for document, _ in self.put.values()]

    @property
    def terms(self) -> list[list[str]]:
        return [terms for _, (prepared, _) in self.put.values() for terms in prepared.terms]

    @property
    def fields(self) -> list[list[str]]:
        return [prepared.fields for _, (prepared, _) in self.put.values()]

    @property
    def removed_numbers(self) -> list[int]:
        return [number for document in self.removed.values() for number in numbers_of(document)]

    def entries(self) -> list[VectorEntry]:
        return [
            VectorEntry(document.first_number + at, vectors[at], document.doc_id, node, document.metadata)
            for document, (_, vectors) in self.put.values()
            for at, node in enumerate(document.nodes)
        ]

    def change(self, *, with_vectors: bool) -> Change:
        rows = [vectors for _, (_, vectors) in self.put.values()] if with_vectors else []
        return Change(
            removed=tuple(self.removed),
            documents=tuple(self.documents),
            vectors=np.concatenate(rows).astype("<f4").tobytes() if rows else b"",
        )


def numbers_of(document: Document) -> range:
    return range(document.first_number, document.first_number + len(document.nodes))


def size_of(document: Document) -> int:
    """Bytes of text and metadata, as the quota counts them."""
    return len(document.text.encode(errors="surrogatepass")) + len(msgspec.json.encode(document.metadata))


class Catalogue:
    """The documents by id and by text. Only the writer changes it; lookups from elsewhere are hints."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        self._documents: dict[str, Document] = {}
        self._ids_by_text: dict[str, dict[str, None]] = {}
        self.next_number = 0
        self._size_bytes = 0

    def by_text(self, texts: Iterable[str]) -> set[str]:
        return {text for text in texts if text_id(text) in self._ids_by_text}

    def is_change(self, doc_id: str, text: str, metadata: dict[str, Any]) -> bool:
        return (old := self._documents.get(doc_id)) is not None and not _is_same(old, text, metadata)

    def decide(self, jobs: Sequence[Job]) -> Turn:
        """What to write for these jobs, one after another. Changes nothing."""
        turn = Turn(next_number=self.next_number, size_bytes=self._size_bytes)
        deciding = _Deciding(self._documents, self._ids_by_text, turn)
        for job in jobs:
            before = deciding.mark()
            try:
                turn.outcomes.append(deciding.take(job))
                self._check_quota(deciding)
            except (QuotaExceeded, Overtaken) as error:
                deciding.back_to(before)
                del turn.outcomes[len(before.outcomes) :]
                turn.outcomes.append(error)
        return turn

    def _check_quota(self, deciding: _Deciding) -> None:
        limits = self._limits
        if limits.documents_max and deciding.count > limits.documents_max and deciding.has_grown:
            raise QuotaExceeded(
                f"index {self._name!r} would hold {deciding.count} documents: at most {limits.documents_max} "
                "(RAG_INDEX_DOCUMENTS_MAX). Delete some or raise the bound."
            )
        size = deciding.turn.size_bytes
        if limits.index_bytes_max and size > limits.index_bytes_max and deciding.has_grown:
            raise QuotaExceeded(
                f"index {self._name!r} would hold {size} bytes of documents: at most {limits.index_bytes_max} "
                "(RAG_INDEX_BYTES_MAX). Delete some or raise the bound."
            )

    def apply(self, turn: Turn) -> None:
        for document in turn.removed.values():
            del self._documents[document.doc_id]
            _forget_text(self._ids_by_text, document)
        for document in turn.documents:
            self._documents[document.doc_id] = document
            self._ids_by_text.setdefault(text_id(document.text), {})[document.doc_id] = None
        self.next_number = turn.next_number
        self._size_bytes = turn.size_bytes

    def restore(self, documents: Sequence[Document]) -> None:
        for document in documents:
            self._documents[document.doc_id] = document
            self._ids_by_text.setdefault(text_id(document.text), {})[document.doc_id] = None
            self._size_bytes += size_of(document)
        self.next_number = max((numbers_of(document).stop for document in documents), default=0)


@dataclass(slots=True)
class _Mark:
    outcomes: list[Any]
    put: dict[str, tuple[Document, Ready]]
    removed: dict[str, Document]
    texts: dict[str, dict[str, None]]
    next_number: int
    size_bytes: int


class _Deciding:
    """The catalogue as it will be after the jobs taken so far, as differences from what it is."""

    def __init__(self, documents: dict[str, Document], texts: dict[str, dict[str, None]], turn: Turn) -> None:
        self._documents, self._old_texts = documents, texts
        self._texts: dict[str, dict[str, None]] = {}  # copies of the entries that changed
        self.turn = turn
        self.has_grown = False

    @property
    def count(self) -> int:
        return len(self._documents) - len(self.turn.removed) + len(self.turn.put)

    def mark(self) -> _Mark:
        turn = self.turn
        self.has_grown = False
        texts = {key: dict(ids) for key, ids in self._texts.items()}
        return _Mark(list(turn.outcomes), dict(turn.put), dict(turn.removed), texts, turn.next_number, turn.size_bytes)

    def back_to(self, mark: _Mark) -> None:
        self.turn.put, self.turn.removed, self._texts = mark.put, mark.removed, mark.texts
        self.turn.next_number, self.turn.size_bytes = mark.next_number, mark.size_bytes

    def take(self, job: Job) -> Any:
        match job:
            case Insertion():
                return self._insert(job)
            case Update():
                return self._update(job)
            case Deletion():
                return self._delete(job)

    def _get(self, doc_id: str) -> Document | None:
        if (put := self.turn.put.get(doc_id)) is not None:
            return put[0]
        return None if doc_id in self.turn.removed else self._documents.get(doc_id)

    def _ids(self, text: str) -> dict[str, None]:
        key = text_id(text)
        if key not in self._texts:
            self._texts[key] = dict(self._old_texts.get(key, {}))
        return self._texts[key]

    def _insert(self, job: Insertion) -> list[Document]:
        ready = {one.text: (one, vectors) for one, vectors in zip(job.prepared, job.vectors, strict=True)}
        stored: list[Document] = []
        for text in job.texts:
            if ids := self._ids(text):
                document = self._get(next(iter(ids)))
                assert document is not None
            elif text in ready:
                document = self._put(self._free_id(text), ready[text])
            else:  # it was there when the request came, and has been deleted since
                raise Overtaken("a document that this request repeats was deleted meanwhile; send it again")
            stored.append(document)
        return stored

    def _free_id(self, text: str) -> str:
        """The text's SHA-256; where a document of another text has it (after an update), one derived from it."""
        doc_id, salt = text_id(text), 0
        while self._get(doc_id) is not None:
            salt += 1
            doc_id = hashlib.sha256(f"{text_id(text)}-{salt}".encode()).hexdigest()
        return doc_id

    def _update(self, job: Update) -> tuple[list[int], list[int], list[int]]:
        updated: list[int] = []
        unchanged: list[int] = []
        absent: list[int] = []
        for at, (doc_id, text, metadata) in enumerate(job.given):
            old = self._get(doc_id)
            if old is None:
                absent.append(at)
            elif _is_same(old, text, metadata):
                unchanged.append(at)
            elif at in job.ready:
                self._drop(old)
                self._put(doc_id, job.ready[at])
                updated.append(at)
            else:
                raise Overtaken(f"document {doc_id!r} was changed by another request meanwhile; send it again")
        return updated, unchanged, absent

    def _delete(self, job: Deletion) -> tuple[list[str], list[str]]:
        deleted: list[str] = []
        absent: list[str] = []
        for doc_id in dict.fromkeys(job.doc_ids):
            if (old := self._get(doc_id)) is None:
                absent.append(doc_id)
            else:
                self._drop(old)
                deleted.append(doc_id)
        return deleted, absent

    def _put(self, doc_id: str, ready: Ready) -> Document:
        prepared, _ = ready
        document = Document(
            doc_id=doc_id,
            text=prepared.text,
            metadata=prepared.metadata,
            first_number=self.turn.next_number,
            nodes=prepared.nodes,
        )
        self.turn.next_number += len(prepared.nodes)
        self.turn.put[doc_id] = (document, ready)
        self.turn.size_bytes += size_of(document)
        self._ids(prepared.text)[doc_id] = None
        self.has_grown = True
        return document

    def _drop(self, document: Document) -> None:
        doc_id = document.doc_id
        if self.turn.put.pop(doc_id, None) is None:
            self.turn.removed[doc_id] = document
        self.turn.size_bytes -= size_of(document)
        self._ids(document.text).pop(doc_id, None)


def _is_same(old: Document, text: str, metadata: dict[str, Any]) -> bool:
    return old.text == text and content_hash(text, metadata) == content_hash(old.text, old.metadata)


def _forget_text(texts: dict[str, dict[str, None]], document: Document) -> None:
    key = text_id(document.text)
    if (ids := texts.get(key)) is not None:
        ids.pop(document.doc_id, None)
        if not ids:
            del texts[key]
