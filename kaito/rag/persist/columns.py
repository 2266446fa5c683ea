"""The columns of a snapshot: BM25's and the filters' postings, so that a restart splits nothing into terms again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaito.rag.analysis import ANALYSIS
from kaito.rag.generation import Document, Generation, Segment, merge_parts
from kaito.rag.persist.records import Columns, PostingColumns
from kaito.rag.postings import Postings


def columns_of(generation: Generation) -> tuple[tuple[Document, ...], Columns | None]:
    """(all documents, their columns). Takes CPU time: for a worker thread."""
    if not generation.parts:
        return (), None
    segment = merge_parts(generation.parts).segment if len(generation.parts) > 1 else _whole(generation)
    return segment.documents, Columns(
        analysis=ANALYSIS,
        words=generation.vocabulary.terms(),
        fields=generation.vocabulary_of_fields.terms(),
        word_postings=_stored(segment.words),
        field_postings=_stored(segment.fields),
        lengths=segment.lengths.astype("<f4").tobytes(),
    )


def _whole(generation: Generation) -> Segment:
    (part,) = generation.parts
    return part.segment if part.alive_count == len(part.segment) else merge_parts([part]).segment


def segment_of(documents: Sequence[Document], columns: Columns) -> Segment | None:
    """None where the columns are another version's, or not of these documents."""
    counts = np.fromiter((len(document.nodes) for document in documents), np.int64, len(documents))
    lengths = np.frombuffer(columns.lengths, "<f4")
    if columns.analysis != ANALYSIS or len(lengths) != counts.sum():
        return None
    return Segment.of(documents, counts, _read(columns.word_postings), _read(columns.field_postings), lengths)


def _stored(postings: Postings) -> PostingColumns:
    return PostingColumns(
        terms=postings.terms.astype("<i8").tobytes(),
        starts=postings.starts.astype("<i8").tobytes(),
        rows=postings.rows.astype("<i4").tobytes(),
        counts=postings.counts.astype("<u2").tobytes(),
    )


def _read(stored: PostingColumns) -> Postings:
    return Postings(
        np.frombuffer(stored.terms, "<i8"),
        np.frombuffer(stored.starts, "<i8"),
        np.frombuffer(stored.rows, "<i4"),
        np.frombuffer(stored.counts, "<u2"),
    )
