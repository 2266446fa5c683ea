"""What an index holds at one moment: immutable segments of documents and nodes, and masks of what is deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from kaito.rag.postings import Bools, Float32s, Int32s, Int64s, Postings, Vocabulary

SMALL_ROWS = 512  # smaller segments at the end are merged at every write: that costs about as much as one write


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it was given. Its nodes have the numbers `first_number`, `first_number + 1`, …"""

    doc_id: str
    text: str
    metadata: dict[str, Any]
    first_number: int
    nodes: tuple[str, ...]  # their texts


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Documents in order of their numbers. Columns have one entry a row = node; n rows, d documents."""

    documents: tuple[Document, ...]  # [d]
    first_rows: Int64s  # [d] row of each document's first node
    document_of: Int32s  # [n] position in `documents`
    numbers: Int64s  # [n] ascending
    words: Postings  # BM25's terms
    fields: Postings  # metadata, one term a `key=value`
    lengths: Float32s  # [n] terms in the row

    @classmethod
    def of(
        cls, documents: Sequence[Document], counts: Int64s, words: Postings, fields: Postings, lengths: Float32s
    ) -> Segment:
        """`counts` [d]: nodes of each document."""
        first_rows = np.cumsum(counts) - counts
        document_of = np.repeat(np.arange(len(documents), dtype=np.int32), counts)
        firsts = np.fromiter((document.first_number for document in documents), np.int64, len(documents))
        numbers = firsts[document_of] + np.arange(len(document_of)) - first_rows[document_of]
        return cls(tuple(documents), first_rows, document_of, numbers, words, fields, lengths)

    def __len__(self) -> int:
        return len(self.numbers)

    def node_text(self, row: int) -> str:
        position = int(self.document_of[row])
        return self.documents[position].nodes[row - int(self.first_rows[position])]


def build_segment(documents: Sequence[Document], words: Sequence[Int64s], fields: Sequence[Int64s]) -> Segment:
    """`words`: one array of terms a node, in the documents' order; `fields`: one a document."""
    counts = np.fromiter((len(document.nodes) for document in documents), np.int64, len(documents))
    by_node = [terms for terms, count in zip(fields, counts.tolist(), strict=True) for _ in range(count)]
    lengths = np.fromiter((len(terms) for terms in words), np.float32, len(words))
    return Segment.of(documents, counts, Postings.build(words), Postings.build(by_node), lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment and which of its rows are alive."""

    segment: Segment
    alive: Bools
    alive_count: int

    @classmethod
    def whole(cls, segment: Segment) -> Part:
        return cls(segment, np.ones(len(segment), np.bool_), len(segment))

    def without(self, rows: Sequence[int]) -> Part:
        alive = self.alive.copy()
        alive[list(rows)] = False
        return Part(self.segment, alive, int(alive.sum()))

    def positions(self) -> Int64s:
        """Of the documents that are alive."""
        found: Int64s = np.flatnonzero(self.alive[self.segment.first_rows])
        return found


def merge_parts(parts: Sequence[Part]) -> Part:
    """One part that holds what is alive in adjacent parts."""
    moved: list[Int32s] = []
    documents: list[Document] = []
    first_rows: list[Int64s] = []
    base = 0
    for part in parts:
        to = np.full(len(part.segment), -1, np.int32)
        to[part.alive] = np.arange(base, base + part.alive_count, dtype=np.int32)
        positions = part.positions()
        documents.extend(part.segment.documents[position] for position in positions)
        first_rows.append(to[part.segment.first_rows[positions]].astype(np.int64))
        moved.append(to)
        base += part.alive_count
    firsts = np.concatenate(first_rows)
    counts = np.diff(np.r_[firsts, base])
    return Part.whole(
        Segment(
            tuple(documents),
            firsts,
            np.repeat(np.arange(len(documents), dtype=np.int32), counts),
            np.concatenate([part.segment.numbers[part.alive] for part in parts]),
            Postings.merge([(part.segment.words, to) for part, to in zip(parts, moved, strict=True)]),
            Postings.merge([(part.segment.fields, to) for part, to in zip(parts, moved, strict=True)]),
            np.concatenate([part.segment.lengths[part.alive] for part in parts]),
        )
    )


def field_term(key: str, value: Any) -> str:
    """The term that stands for one entry of metadata: equal values, equal terms (1 is 1.0, but not true or "1")."""
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    exact = number is not None and number == value
    return f"{key}={msgspec.json.encode(number if exact else value, order='deterministic').decode()}"


def field_terms(metadata: Mapping[str, Any]) -> list[str]:
    return [field_term(key, value) for key, value in metadata.items()]


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """Immutable, but for the vocabulary, which only grows."""

    number: int
    parts: tuple[Part, ...]
    vocabulary: Vocabulary
    vocabulary_of_fields: Vocabulary
    node_count: int = 0
    document_count: int = 0
    term_count: float = 0.0

    @property
    def mean_length(self) -> float:
        return self.term_count / self.node_count if self.node_count else 0.0

    def changed(self, parts: Sequence[Part]) -> Generation:
        kept = tuple(part for part in parts if part.alive_count)
        return replace(
            self,
            number=self.number + 1,
            parts=kept,
            node_count=sum(part.alive_count for part in kept),
            document_count=sum(len(part.positions()) for part in kept),
            term_count=float(sum(part.segment.lengths[part.alive].sum() for part in kept)),
        )

    def documents(self) -> Iterator[Document]:
        """In order of insertion; an updated document moves to the end."""
        for part in self.parts:
            for position in part.positions():
                yield part.segment.documents[position]

    def page(self, offset: int, limit: int, fields: Mapping[str, Any] | None) -> tuple[list[Document], int]:
        """(documents from `offset` on, how many match in all)."""
        terms = self.filter_terms(fields)
        page: list[Document] = []
        total = 0
        for part in self.parts:
            positions = part.positions() if terms is None else self._matching(part, terms)
            start = max(offset - total, 0)
            total += len(positions)
            page.extend(part.segment.documents[at] for at in positions[start : start + limit - len(page)])
        return page, total

    def filter_terms(self, fields: Mapping[str, Any] | None) -> Int64s | None:
        """None: no filter. A term that no document has is -1, which matches nothing."""
        if not fields:
            return None
        found = [self.vocabulary_of_fields.find([term]) for term in field_terms(fields)]
        return np.array([term[0] if len(term) else -1 for term in found], np.int64)

    def _matching(self, part: Part, terms: Int64s) -> Int64s:
        mask = self.mask(part, terms)
        found: Int64s = np.flatnonzero(mask[part.segment.first_rows])
        return found

    def mask(self, part: Part, terms: Int64s | None) -> Bools:
        """Rows of the part that are alive and match the filter."""
        if terms is None:
            return part.alive
        if (terms < 0).any():
            return np.zeros(len(part.segment), np.bool_)
        return part.alive & part.segment.fields.rows_with_all(np.unique(terms), len(part.segment))

    def find(self, number: int) -> tuple[Segment, int] | None:
        """Segment and row of a node; None where it is not alive."""
        for part in self.parts:
            numbers = part.segment.numbers
            if numbers[0] <= number <= numbers[-1]:
                row = int(np.searchsorted(numbers, number))
                if numbers[row] == number and part.alive[row]:
                    return part.segment, row
        return None


def compacted(parts: Sequence[Part]) -> list[Part]:
    """The same rows in O(log n) parts: neighbours of like size are merged, and what is half dead is rewritten."""
    done: list[Part] = []
    for part in parts:
        if part.alive_count * 2 < len(part.segment) and part.alive_count:
            part = merge_parts([part])
        while done and (done[-1].alive_count < SMALL_ROWS or done[-1].alive_count < 2 * part.alive_count):
            part = merge_parts([done.pop(), part])
        done.append(part)
    return done
