"""The embedded store: FAISS segments, exact while they are small, a graph or inverted lists when they are large.

A view is a tuple of immutable segments. Numbers are ascending within and across segments, so they are found by
bisection and never remapped; a deletion copies a mask. Vectors have length 1, and inner product is cosine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeAlias

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from kaito.rag.postings import Bools, Float32s, Int64s
from kaito.rag.vectors import Hits, VectorEntry, Where

faiss: Any = _faiss  # its stubs know half of it

Matrix: TypeAlias = NDArray[np.float32]

SMALL_ROWS = 1024
HNSW_ROWS = 16_384  # below, a flat scan takes under 2 ms and is exact
IVF_ROWS = 1_000_000  # above, a graph's build time and memory cost more than its speed is worth
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 80, 96
IVF_PROBES_SHARE = 0.06
EXACT_ROWS = 16_384  # with a filter that leaves fewer rows than this, all of them are compared


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """`index` holds row i of `numbers` [n] under id i."""

    numbers: Int64s
    index: Any
    alive: Bools
    alive_count: int

    def matrix(self) -> Matrix:
        """[n, d], a view into FAISS's own memory where there is one."""
        index = self.index
        flat = faiss.downcast_index(getattr(index, "storage", index))  # the base class has no `get_xb`
        if not hasattr(flat, "get_xb"):
            rows: Matrix = index.reconstruct_n(0, len(self.numbers))
            return rows
        view: Matrix = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
        return view

    def rows_of(self, numbers: Int64s) -> Int64s:
        """Rows of those of `numbers` that are here and alive."""
        at = np.searchsorted(self.numbers, numbers)
        at[at == len(self.numbers)] = 0
        found: Int64s = at[(self.numbers[at] == numbers) & self.alive[at]]
        return found

    def without(self, rows: Int64s) -> Segment:
        alive = self.alive.copy()
        alive[rows] = False
        return Segment(self.numbers, self.index, alive, int(alive.sum()))

    def search(self, query: Float32s, k: int, numbers: Int64s | None) -> tuple[Int64s, Float32s]:
        if numbers is None:
            selected = None if self.alive_count == len(self.numbers) else self.alive
            return self._scan(query, k, selected)
        rows = self.rows_of(numbers)
        if not len(rows):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if len(rows) <= EXACT_ROWS:
            scores = self.matrix()[rows] @ query
            best = top(scores, k)
            return self.numbers[rows[best]], scores[best]
        selected = np.zeros(len(self.numbers), np.bool_)
        selected[rows] = True
        return self._scan(query, k, selected)

    def _scan(self, query: Float32s, k: int, selected: Bools | None) -> tuple[Int64s, Float32s]:
        k = min(k, self.alive_count)
        bits = None if selected is None else np.packbits(selected, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(len(self.numbers), faiss.swig_ptr(bits))
        scores, rows = self.index.search(query[None], k, params=_parameters(self.index, k, selector))
        found = rows[0] >= 0
        return self.numbers[rows[0][found]], scores[0][found]


def _parameters(index: Any, k: int, selector: Any) -> Any:
    options: dict[str, Any] = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(HNSW_SEARCH, 2 * k), **options)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=max(8, int(index.nlist * IVF_PROBES_SHARE)), **options)
    return faiss.SearchParameters(**options) if options else None


def top(scores: Float32s, k: int) -> Int64s:
    """Positions of the k highest, best first; ties go to the earlier one."""
    k = min(k, len(scores))
    if k < len(scores):
        best = np.argpartition(-scores, k - 1)[:k]
        best.sort()
    else:
        best = np.arange(len(scores))
    ordered: Int64s = best[np.argsort(-scores[best], kind="stable")]
    return ordered


def flat_segment(numbers: Int64s, matrix: Matrix) -> Segment:
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(np.ascontiguousarray(matrix))
    return Segment(numbers, index, np.ones(len(numbers), np.bool_), len(numbers))


def merge_segments(segments: Sequence[Segment]) -> Segment:
    """One flat segment of what is alive."""
    return flat_segment(
        np.concatenate([segment.numbers[segment.alive] for segment in segments]),
        np.concatenate([segment.matrix()[segment.alive] for segment in segments]),
    )


def is_flat(segment: Segment) -> bool:
    return isinstance(segment.index, faiss.IndexFlat)


def compacted(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Flat neighbours of like size are merged; graphs and lists are left to `tend`, for building them takes long."""
    done: list[Segment] = []
    for segment in segments:
        if not segment.alive_count:
            continue
        while (
            is_flat(segment)
            and done
            and is_flat(done[-1])
            and (done[-1].alive_count < SMALL_ROWS or done[-1].alive_count < 2 * segment.alive_count)
        ):
            segment = merge_segments([done.pop(), segment])
        done.append(segment)
    return tuple(done)


def build_large(numbers: Int64s, matrix: Matrix) -> Segment:
    """A segment with the index that suits its size."""
    dimensions = matrix.shape[1]
    if len(numbers) < IVF_ROWS:
        index = faiss.IndexHNSWFlat(dimensions, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD
    else:
        lists = int(4 * len(numbers) ** 0.5)  # FAISS's guideline for a million
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT)
        index.train(matrix[:: max(1, len(matrix) // (64 * lists))])
        index.set_direct_map_type(faiss.DirectMap.Array)
    index.add(matrix)
    return Segment(numbers, index, np.ones(len(numbers), np.bool_), len(numbers))


@dataclass(frozen=True, slots=True, eq=False)
class FaissView:
    segments: tuple[Segment, ...]
    executor: Executor | None

    async def search(self, query: Float32s, k: int, where: Where | None) -> Hits:
        return await asyncio.get_running_loop().run_in_executor(self.executor, self.search_now, query, k, where)

    def search_now(self, query: Float32s, k: int, where: Where | None) -> Hits:
        numbers = None if where is None else where.numbers
        if not self.segments or (numbers is not None and not len(numbers)):
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32))
        found = [segment.search(query, k, numbers) for segment in self.segments]
        every, scores = np.concatenate([one for one, _ in found]), np.concatenate([score for _, score in found])
        best = top(scores, k)
        return Hits(every[best], scores[best])

    async def vectors(self, numbers: Sequence[int]) -> dict[int, Float32s]:
        return await asyncio.get_running_loop().run_in_executor(self.executor, self._vectors_now, numbers)

    def _vectors_now(self, numbers: Sequence[int]) -> dict[int, Float32s]:
        wanted = np.array(sorted(numbers), np.int64)
        found: dict[int, Float32s] = {}
        for segment in self.segments:
            matrix, rows = segment.matrix(), segment.rows_of(wanted)
            found.update(zip(segment.numbers[rows].tolist(), matrix[rows], strict=True))
        return found


class FaissStore:
    """Built by its index's log at every start; `tend` turns large flat segments into a graph in the background."""

    is_embedded = True

    def __init__(self, executor: Executor | None = None) -> None:
        self._segments: tuple[Segment, ...] = ()
        self._executor = executor

    async def add(self, entries: Sequence[VectorEntry]) -> None:
        if entries:
            await self._in_thread(lambda: self.add_now(entries))

    def add_now(self, entries: Sequence[VectorEntry]) -> None:
        numbers = np.fromiter((entry.number for entry in entries), np.int64, len(entries))
        matrix = np.stack([entry.vector for entry in entries]).astype(np.float32, copy=False)
        last = max((int(segment.numbers[-1]) for segment in self._segments), default=-1)
        if numbers[0] <= last:  # a repeated write: numbers otherwise ascend
            self.delete_now([int(number) for number in numbers])
            # After the deletion they may lie between older ones: sort what is there into one segment.
            old = [segment for segment in self._segments if segment.alive_count]
            every = np.concatenate([*(segment.numbers[segment.alive] for segment in old), numbers])
            rows = np.concatenate([*(segment.matrix()[segment.alive] for segment in old), matrix])
            order = np.argsort(every, kind="stable")
            self._segments = (flat_segment(every[order], rows[order]),)
            return
        self._segments = compacted([*self._segments, flat_segment(numbers, matrix)])

    async def delete(self, numbers: Sequence[int]) -> None:
        if numbers:
            await self._in_thread(lambda: self.delete_now(numbers))

    def delete_now(self, numbers: Sequence[int]) -> None:
        gone = np.array(sorted(numbers), np.int64)
        self._segments = compacted(_without(self._segments, gone))

    def view(self) -> FaissView:
        return FaissView(self._segments, self._executor)

    async def tend(self, turn: asyncio.Lock) -> None:
        before = self._segments
        if not _outgrown(before):
            return
        built = await asyncio.to_thread(lambda: build_large(*_gathered(before)))
        async with turn:
            await self._in_thread(lambda: self._replace(built))

    def _replace(self, built: Segment) -> None:
        """Takes `built` for what it was built of; what was written meanwhile stays."""
        last = int(built.numbers[-1])
        kept = np.concatenate([segment.numbers[segment.alive] for segment in self._segments])
        gone = np.setdiff1d(built.numbers, kept)
        later = [_after(segment, last) for segment in self._segments if int(segment.numbers[-1]) > last]
        self._segments = compacted([*_without((built,), gone), *later])

    async def drop(self) -> None:
        self._segments = ()

    async def close(self) -> None:
        self._segments = ()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _outgrown(segments: Sequence[Segment]) -> bool:
    """Whether there is enough that is not in a graph, or dead in one, to build it anew."""
    large = [segment for segment in segments if not is_flat(segment)]
    alive = sum(segment.alive_count for segment in segments)
    tail = alive - sum(segment.alive_count for segment in large)
    dead = sum(len(segment.numbers) - segment.alive_count for segment in large)
    return alive >= HNSW_ROWS and (not large or tail >= max(HNSW_ROWS, alive // 4) or dead * 3 >= alive)


def _gathered(segments: Sequence[Segment]) -> tuple[Int64s, Matrix]:
    return (
        np.concatenate([segment.numbers[segment.alive] for segment in segments]),
        np.concatenate([segment.matrix()[segment.alive] for segment in segments]),
    )


def _without(segments: Sequence[Segment], numbers: Int64s) -> list[Segment]:
    kept: list[Segment] = []
    for segment in segments:
        rows = segment.rows_of(numbers)
        kept.append(segment.without(rows) if len(rows) else segment)
    return kept


def _after(segment: Segment, number: int) -> Segment:
    """Only what is above `number`."""
    rows = (segment.numbers > number) & segment.alive
    return segment if rows.all() else flat_segment(segment.numbers[rows], segment.matrix()[rows])
