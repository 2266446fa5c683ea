"""One index: a writer task that applies what is prepared, and readers that take the latest `Reading`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import structlog

from kaito.logs import Event
from kaito.rag.analysis import terms
from kaito.rag.changes import Catalogue, Deletion, Insertion, Job, Overtaken, Turn, Update, numbers_of
from kaito.rag.embed import Embedding
from kaito.rag.generation import (
    Document,
    Generation,
    Part,
    build_segment,
    compacted,
    field_terms,
)
from kaito.rag.ingest import Prepared, prepare, with_metadata
from kaito.rag.persist.columns import columns_of, segment_of
from kaito.rag.persist.folder import IndexFolder
from kaito.rag.persist.records import Change, Columns, Content, End, vector_rows
from kaito.rag.postings import Float32s, Vocabulary
from kaito.rag.settings import Limits
from kaito.rag.vectors import VectorEntry, VectorStore, VectorView

T = TypeVar("T")
SNAPSHOT_DOCUMENTS = 256  # a record of a snapshot
TURN_JOBS = 256  # jobs that share one fsync
ATTEMPTS = 5  # to prepare a change that others keep changing
Given: TypeAlias = tuple[str, dict[str, Any]]  # text, metadata


class IndexClosed(RuntimeError):
    """The index was deleted or replaced while the request waited."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a reader sees, for as long as it holds this."""

    generation: Generation
    vectors: VectorView


@dataclass(slots=True)
class _Waiting:
    job: Job
    done: asyncio.Future[Any] = field(repr=False)


class Index:
    """Documents of one name. Created by `open_index`; every public coroutine may be called from many tasks."""

    def __init__(
        self,
        folder: IndexFolder,
        store: VectorStore,
        embedding: Embedding,
        threads: Executor,
        limits: Limits,
        snapshot_log_bytes: int,
    ) -> None:
        self.name = folder.header.name
        self.folder = folder
        self.store = store
        self._embedding = embedding
        self._threads = threads
        self._snapshot_log_bytes = snapshot_log_bytes
        self._catalogue = Catalogue(self.name, limits)
        empty = Generation(0, (), Vocabulary(), Vocabulary())
        self.reading = Reading(empty, store.view())
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=1024)
        self._writer: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._is_closed = False
        self._was_written = False
        self._turn_lock = asyncio.Lock()

    # -- what requests do

    async def insert(self, given: Sequence[Given]) -> list[Document]:
        """The documents as they are stored, in order; a text that is there already stays as it is.

        Raises CannotSplit, EmbeddingFailed, QuotaExceeded, StorageFull, ReadOnly, VectorStoreUnavailable, IndexClosed.
        """

        async def attempt() -> Job:
            known = self._catalogue.by_text(text for text, _ in given)
            fresh: dict[str, dict[str, Any]] = {}
            for text, metadata in given:
                if text not in known:
                    fresh.setdefault(text, metadata)  # of equal texts the first counts
            prepared, vectors = await self._prepare(list(fresh.items()))
            return Insertion(prepared, vectors, [text for text, _ in given])

        done: list[Document] = await self._until_not_overtaken(attempt)
        return done

    async def update(self, given: Sequence[tuple[str, str, dict[str, Any]]]) -> tuple[list[int], list[int], list[int]]:
        """`given`: (doc_id, text, metadata). Positions (updated, unchanged, not found). Raises as `insert`."""
        times = Counter(doc_id for doc_id, _, _ in given)

        async def attempt() -> Job:
            wanted = [(at, one) for at, one in enumerate(given) if self._catalogue.is_change(*one) or times[one[0]] > 1]
            prepared, vectors = await self._prepare([(text, metadata) for _, (_, text, metadata) in wanted])
            ready = {at: (prepared[place], vectors[place]) for place, (at, _) in enumerate(wanted)}
            return Update(list(given), ready)

        done: tuple[list[int], list[int], list[int]] = await self._until_not_overtaken(attempt)
        return done

    async def _until_not_overtaken(self, attempt: Callable[[], Awaitable[Job]]) -> Any:
        for _ in range(ATTEMPTS - 1):
            with suppress(Overtaken):
                return await self._submit(await attempt())
        return await self._submit(await attempt())

    async def delete(self, doc_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """(deleted, not found), in order."""
        done: tuple[list[str], list[str]] = await self._submit(Deletion(list(doc_ids)))
        return done

    async def _prepare(self, given: Sequence[Given]) -> tuple[list[Prepared], list[Float32s]]:
        if not given:
            return [], []
        prepared = await self._in_thread(lambda: [prepare(text, metadata) for text, metadata in given])
        rows = await self._embedding.documents([text for one in prepared for text in one.embedded])
        counts = np.cumsum([len(one.nodes) for one in prepared])[:-1]
        return prepared, np.split(rows, counts)

    async def _submit(self, job: Job) -> Any:
        if self._is_closed:
            raise IndexClosed(f"index {self.name!r} was deleted meanwhile")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Waiting(job, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name=f"writer of {self.name}")
        # A client that hangs up does not take back what is being written.
        return await asyncio.shield(done)

    # -- the writer

    async def _write(self) -> None:
        while not self._queue.empty():
            batch = [self._queue.get_nowait() for _ in range(min(self._queue.qsize(), TURN_JOBS))]
            async with self._turn_lock:
                await self._take_turn(batch)
        if not self._is_closed and (self._upkeep is None or self._upkeep.done()):
            self._upkeep = asyncio.create_task(self._tend(), name=f"upkeep of {self.name}")

    async def _take_turn(self, batch: Sequence[_Waiting]) -> None:
        """One group commit. A job that cannot be done fails alone; a failed write fails them all."""
        if self._is_closed:
            _fail(batch, IndexClosed(f"index {self.name!r} was deleted meanwhile"))
            return
        try:
            turn = await self._in_thread(lambda: self._catalogue.decide([one.job for one in batch]))
            if not turn.is_empty:
                await self._commit(turn)
        except Exception as error:
            _fail(batch, error)
            return
        for one, outcome in zip(batch, turn.outcomes, strict=True):
            if one.done.done():
                continue
            if isinstance(outcome, Exception):
                one.done.set_exception(outcome)
            else:
                one.done.set_result(outcome)

    async def _commit(self, turn: Turn) -> None:
        """Disk, then memory. An external store gets its vectors first: what it has too much is never found."""
        embedded = self.store.is_embedded
        entries = turn.entries()
        if entries and not embedded:
            await self.store.add(entries)
        change = turn.change(with_vectors=embedded)
        self._was_written = True
        await self._in_thread(lambda: self.folder.append(change))
        if entries and embedded:
            await self.store.add(entries)
        parts = await self._in_thread(lambda: self._parts_after(turn))
        self._catalogue.apply(turn)
        if turn.removed_numbers:
            if embedded:
                await self.store.delete(turn.removed_numbers)
            self.reading = Reading(self.reading.generation.changed(parts), self.store.view())
            if not embedded:
                await self._forget(turn.removed_numbers)
        else:
            self.reading = Reading(self.reading.generation.changed(parts), self.store.view())

    async def _forget(self, numbers: Sequence[int]) -> None:
        try:
            await self.store.delete(numbers)
        except Exception as error:
            # They are dead in every generation from now on; all that is lost is room in the store.
            structlog.get_logger().warning(
                Event.VECTORS_LEFT_BEHIND, index=self.name, count=len(numbers), reason=str(error)
            )

    def _parts_after(self, turn: Turn) -> list[Part]:
        parts = _without(self.reading.generation.parts, turn.removed_numbers)
        if turn.documents:
            parts.append(self._part(turn.documents, turn.terms, turn.fields))
        return compacted(parts)

    def _part(self, documents: Sequence[Document], words: Sequence[list[str]], fields: Sequence[list[str]]) -> Part:
        generation = self.reading.generation
        return Part.whole(
            build_segment(
                documents,
                [generation.vocabulary.intern(one) for one in words],
                [generation.vocabulary_of_fields.intern(one) for one in fields],
            )
        )

    # -- life

    async def restore(self, contents: Sequence[Content], next_number: int, *, is_copy: bool = False) -> None:
        """Takes in what the folder had. Before anything else is asked of the index.

        `is_copy`: of another index, so that an external store has none of the vectors yet.
        """
        self._was_written = bool(contents)
        replayed = await self._in_thread(lambda: replay(contents, self.folder.header.dimensions))
        documents, vectors = replayed.documents, replayed.vectors
        missing = [document for document in documents if document.doc_id not in vectors]
        if missing and (is_copy or self.store.is_embedded):  # what was persisted from an external store
            rows = await self._embedding.documents([text for one in missing for text in embedded_texts(one)])
            counts = np.cumsum([len(one.nodes) for one in missing])[:-1]
            vectors.update(zip((one.doc_id for one in missing), np.split(rows, counts), strict=True))
        entries = await self._in_thread(
            lambda: [entry for one in documents if one.doc_id in vectors for entry in entries_of(one, vectors)]
        )
        await self.store.add(entries)
        await self._in_thread(lambda: self._take_in(replayed))
        self._catalogue.next_number = max(self._catalogue.next_number, next_number)
        self.reading = Reading(self.reading.generation, self.store.view())
        self._upkeep = asyncio.create_task(self._tend(), name=f"upkeep of {self.name}")

    def _take_in(self, replayed: Replayed) -> None:
        generation, rest = self.reading.generation, replayed.documents
        parts: list[Part] = []
        if (covered := replayed.covered) is not None and (segment := segment_of(*covered)) is not None:
            documents, columns = covered
            vocabulary, of_fields = Vocabulary.of(columns.words), Vocabulary.of(columns.fields)
            generation = replace(generation, vocabulary=vocabulary, vocabulary_of_fields=of_fields)
            alive, known = {id(one) for one in rest}, {id(one) for one in documents}
            gone = [number for one in documents if id(one) not in alive for number in numbers_of(one)]
            parts = _without([Part.whole(segment)], gone)
            rest = [one for one in rest if id(one) not in known]
        self.reading = Reading(generation, self.reading.vectors)
        if rest:
            words = [terms(text) for document in rest for text in embedded_texts(document)]
            parts.append(self._part(rest, words, [field_terms(document.metadata) for document in rest]))
        self.reading = Reading(generation.changed(compacted(parts)), self.reading.vectors)
        self._catalogue.restore(replayed.documents)

    async def _tend(self) -> None:
        """Upkeep after writes: the store's own, and a snapshot when the log has outgrown the last one."""
        await self.store.tend(self._turn_lock)
        async with self._turn_lock:
            if not self._is_closed:
                self.reading = Reading(self.reading.generation, self.store.view())
        if self.folder.log_bytes > max(self._snapshot_log_bytes, self.folder.snapshot_bytes):
            try:
                await self.snapshot()
            except OSError as error:
                structlog.get_logger().error(Event.SNAPSHOT_FAILED, index=self.name, reason=str(error))

    async def snapshot(self) -> None:
        """Compacts the log. Writers go on meanwhile."""
        async with self._turn_lock:
            if self._is_closed:
                return
            number = await self._in_thread(self.folder.rotate)
            reading, next_number = self.reading, self._catalogue.next_number
        contents, end = await self.contents(reading, next_number)
        await self._in_thread(lambda: self.folder.write_snapshot(number, contents, end))

    async def contents(
        self, reading: Reading | None = None, next_number: int | None = None
    ) -> tuple[list[Content], End]:
        """All there is in a reading, as the records of a snapshot."""
        if reading is None or next_number is None:
            reading, next_number = self.reading, self._catalogue.next_number
        documents, columns = await self._in_thread(lambda: columns_of(reading.generation))
        contents: list[Content] = []
        for start in range(0, len(documents), SNAPSHOT_DOCUMENTS):
            chunk = documents[start : start + SNAPSHOT_DOCUMENTS]
            numbers = [number for one in chunk for number in numbers_of(one)]
            rows = await reading.vectors.vectors(numbers) if self.store.is_embedded else {}
            joined = b"".join(rows[number].astype("<f4").tobytes() for number in numbers) if rows else b""
            contents.append(Change(documents=chunk, vectors=joined))
        if columns is not None:
            contents.append(columns)
        return contents, End(documents=len(documents), next_number=next_number)

    async def close_if_unwritten(self) -> bool:
        """Whether nothing has ever been written, and from now on nothing will be; `close` ends it then."""
        async with self._turn_lock:
            self._is_closed = self._is_closed or not self._was_written
            return not self._was_written

    async def close(self) -> None:
        """Ends the writer after its turn; what still waits fails with IndexClosed."""
        self._is_closed = True
        async with self._turn_lock:
            while not self._queue.empty():
                _fail([self._queue.get_nowait()], IndexClosed(f"index {self.name!r} was deleted meanwhile"))
        for task in (self._writer, self._upkeep):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        self.folder.close()
        await self.store.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.done.done():
            one.done.set_exception(error)
            one.done.exception()  # its request may be gone


def _without(parts: Sequence[Part], numbers: Sequence[int]) -> list[Part]:
    gone = np.array(sorted(numbers), np.int64)
    kept: list[Part] = []
    for part in parts:
        rows = np.flatnonzero(np.isin(part.segment.numbers, gone)) if len(gone) else gone
        kept.append(part.without(rows.tolist()) if len(rows) else part)
    return kept


@dataclass(frozen=True, slots=True)
class Replayed:
    """`documents` in order; `vectors` that the records carry, by document id; `covered`: a snapshot's documents and
    their columns.
    """

    documents: list[Document]
    vectors: dict[str, Float32s]
    covered: tuple[list[Document], Columns] | None


def replay(contents: Sequence[Content], dimensions: int) -> Replayed:
    """Takes CPU time: for a worker thread."""
    documents: dict[str, Document] = {}
    vectors: dict[str, Float32s] = {}
    covered: tuple[list[Document], Columns] | None = None
    for change in contents:
        if isinstance(change, Columns):
            covered = (list(documents.values()), change)
            continue
        for doc_id in change.removed:
            documents.pop(doc_id, None)
            vectors.pop(doc_id, None)
        rows, at = vector_rows(change, dimensions), 0
        for document in change.documents:
            documents.pop(document.doc_id, None)  # to the end
            documents[document.doc_id] = document
            vectors.pop(document.doc_id, None)
            if len(rows):
                vectors[document.doc_id] = rows[at : at + len(document.nodes)]
                at += len(document.nodes)
    return Replayed(sorted(documents.values(), key=lambda one: one.first_number), vectors, covered)


def embedded_texts(document: Document) -> list[str]:
    return [with_metadata(node, document.metadata) for node in document.nodes]


def entries_of(document: Document, vectors: Mapping[str, Float32s]) -> list[VectorEntry]:
    rows = vectors[document.doc_id]
    return [
        VectorEntry(document.first_number + at, rows[at], document.doc_id, node, document.metadata)
        for at, node in enumerate(document.nodes)
    ]
