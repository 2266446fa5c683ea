"""Postings of one segment: for each term the rows that hold it, as columns (compressed sparse rows)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64s: TypeAlias = NDArray[np.int64]
Int32s: TypeAlias = NDArray[np.int32]
Float32s: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]

K1, B = 1.2, 0.75  # Robertson and Zaragoza 2009, as in Lucene


class Vocabulary:
    """Term → number, append-only. One writer; readers look up without a lock."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @classmethod
    def of(cls, terms: Sequence[str]) -> Vocabulary:
        """`terms`: by their numbers."""
        vocabulary = cls()
        vocabulary._numbers = dict(zip(terms, range(len(terms)), strict=True))
        return vocabulary

    def __len__(self) -> int:
        return len(self._numbers)

    def terms(self) -> tuple[str, ...]:
        """By their numbers."""
        return tuple(self._numbers)

    def intern(self, terms: Iterable[str]) -> Int64s:
        numbers = self._numbers
        return np.fromiter((numbers.setdefault(term, len(numbers)) for term in terms), np.int64)

    def find(self, terms: Iterable[str]) -> Int64s:
        """Ascending, each once; unknown terms are left out."""
        found = {number for term in terms if (number := self._numbers.get(term)) is not None}
        return np.array(sorted(found), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """`terms` [t] ascending; the rows of term i are `rows[starts[i]:starts[i + 1]]`, ascending, each `counts` times."""

    terms: Int64s
    starts: Int64s
    rows: Int32s
    counts: NDArray[np.uint16]

    @classmethod
    def build(cls, term_lists: Sequence[Int64s]) -> Postings:
        """`term_lists`: row → its terms, repeated as they occur."""
        lengths = np.fromiter((len(terms) for terms in term_lists), np.int64, len(term_lists))
        terms = np.concatenate(term_lists) if term_lists else np.empty(0, np.int64)
        rows = np.repeat(np.arange(len(term_lists), dtype=np.int64), lengths)
        keys, counts = np.unique((terms << 32) | rows, return_counts=True)
        return cls._from_sorted(
            keys >> 32, (keys & 0xFFFFFFFF).astype(np.int32), np.minimum(counts, 65535).astype(np.uint16)
        )

    @classmethod
    def _from_sorted(cls, terms: Int64s, rows: Int32s, counts: NDArray[np.uint16]) -> Postings:
        starts = np.flatnonzero(np.r_[True, terms[1:] != terms[:-1]]) if len(terms) else np.empty(0, np.int64)
        return cls(terms[starts], np.r_[starts, len(terms)].astype(np.int64), rows, counts)

    @classmethod
    def merge(cls, parts: Sequence[tuple[Postings, Int32s]]) -> Postings:
        """`parts`: postings and, for each of their rows, its row in the result or -1 where it is dropped."""
        terms = np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part, _ in parts])
        rows = np.concatenate([moved[part.rows] for part, moved in parts])
        counts = np.concatenate([part.counts for part, _ in parts])
        if (kept := rows >= 0).sum() < len(rows):
            terms, rows, counts = terms[kept], rows[kept], counts[kept]
        order = np.argsort(terms, kind="stable")  # rows ascend within a part, and the parts follow one another
        return cls._from_sorted(terms[order], rows[order], counts[order])

    def lookup(self, terms: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """(positions in `terms` that occur here, start, end) of each."""
        if not len(self.terms):
            empty = np.empty(0, np.int64)
            return empty, empty, empty
        at = np.searchsorted(self.terms, terms)
        at[at == len(self.terms)] = 0
        (present,) = np.nonzero(self.terms[at] == terms)
        at = at[present]
        return present, self.starts[at], self.starts[at + 1]

    def frequencies(self, terms: Int64s) -> Int64s:
        """Number of rows that hold each of `terms`."""
        found = np.zeros(len(terms), np.int64)
        present, starts, ends = self.lookup(terms)
        found[present] = ends - starts
        return found

    def rows_with_all(self, terms: Int64s, row_count: int) -> Bools:
        """Mask over the rows that hold every one of `terms`."""
        present, starts, ends = self.lookup(terms)
        if len(present) < len(terms):
            return np.zeros(row_count, np.bool_)
        held = np.zeros(row_count, np.int32)
        for start, end in zip(starts, ends, strict=True):
            held[self.rows[start:end]] += 1
        mask: Bools = held == len(terms)
        return mask

    def bm25(self, terms: Int64s, weights: Float32s, lengths: Float32s, mean_length: float) -> Float32s:
        """Score of every row. `weights`: inverse document frequency of each term over the whole index."""
        scores = np.zeros(len(lengths), np.float32)
        norms = K1 * (1 - B + B * lengths / max(mean_length, 1.0))
        for position, start, end in zip(*self.lookup(terms), strict=True):
            rows = self.rows[start:end]
            counts = self.counts[start:end].astype(np.float32)
            scores[rows] += weights[position] * counts * (K1 + 1) / (counts + norms[rows])
        return scores


def inverse_frequency(frequencies: Int64s, row_count: int) -> Float32s:
    """Lucene's BM25 idf: positive for every frequency."""
    ratio: Any = (row_count - np.minimum(frequencies, row_count) + 0.5) / (frequencies + 0.5)
    weights: Float32s = np.log1p(ratio).astype(np.float32)
    return weights
