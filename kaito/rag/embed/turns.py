"""How queries and documents share the processors: queries first, but never alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Turns:
    """Whether queries may go on, or have to let a batch of documents through first.

    The threads of documents give way to those of queries (they are nicer), and on few cores queries that never pause
    could leave them nothing. So, while documents wait, queries compute at most `seconds_max` and the one batch that
    goes beyond it; then they stand still until a batch of documents is done.
    """

    seconds_max: float
    documents_waiting: int = 0  # texts
    _computed_s: float = field(default=0.0)

    @property
    def may_query(self) -> bool:
        return not self.documents_waiting or self._computed_s < self.seconds_max

    def query_batch_done(self, seconds: float) -> None:
        if self.documents_waiting:
            self._computed_s += seconds

    def documents_came(self, texts: int) -> None:
        if not self.documents_waiting:
            self._computed_s = 0.0
        self.documents_waiting += texts

    def documents_went(self, texts: int) -> None:
        """They are done, have failed, or are not wanted any more."""
        self.documents_waiting -= texts
        self._computed_s = 0.0
        assert self.documents_waiting >= 0


class Gate(Protocol):
    """What a lane asks before a batch, and tells of its texts: each of them comes once and goes once."""

    async def open(self) -> None:
        """Returns when the lane may take a batch."""
        ...

    def came(self, texts: int) -> None: ...

    def went(self, texts: int, seconds: float) -> None:
        """`seconds` of computing that they took; 0 for those that were given up before their batch."""
        ...


class QueryGate:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.documents_went = asyncio.Event()

    async def open(self) -> None:
        while not self._turns.may_query:
            self.documents_went.clear()
            await self.documents_went.wait()

    def came(self, texts: int) -> None:
        pass

    def went(self, texts: int, seconds: float) -> None:
        self._turns.query_batch_done(seconds)


class DocumentGate:
    """Always open."""

    def __init__(self, turns: Turns, queries: QueryGate) -> None:
        self._turns, self._queries = turns, queries

    async def open(self) -> None:
        pass

    def came(self, texts: int) -> None:
        self._turns.documents_came(texts)

    def went(self, texts: int, seconds: float) -> None:
        if texts:
            self._turns.documents_went(texts)
            self._queries.documents_went.set()


def gates(seconds_max: float) -> tuple[QueryGate, DocumentGate]:
    turns = Turns(seconds_max)
    queries = QueryGate(turns)
    return queries, DocumentGate(turns, queries)
