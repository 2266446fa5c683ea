"""LeaseMachine: who leads, without I/O. Monotonic seconds only: a clock that jumps moves nobody's deadline.

A lease that another holds is taken over when its record has not changed for its whole duration *as we observed it*;
times written in the record are for people. Our own lease counts from before the request that renewed it was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says. `version` changes with every write, whoever made it."""

    holder: str
    duration_s: float
    transitions: int
    version: str


@dataclass(frozen=True, slots=True)
class Create:
    """There is no Lease."""


@dataclass(frozen=True, slots=True)
class Take:
    """Free, expired or ours from before: write ourselves into it, provided that it still has this version."""

    version: str
    transitions: int


@dataclass(frozen=True, slots=True)
class Renew:
    version: str
    transitions: int


@dataclass(frozen=True, slots=True)
class Stand:
    """Another leads: look again."""

    holder: str


Move: TypeAlias = Create | Take | Renew | Stand


class LeaseMachine:
    """Law: two machines that see the same records in order never both may write at the same moment."""

    def __init__(self, identity: str, *, duration_s: float) -> None:
        self.identity, self.duration_s = identity, duration_s
        self._record: Record | None = None
        self._changed_s = 0.0
        self._until_s = float("-inf")

    @property
    def holder(self) -> str:
        return self._record.holder if self._record else ""

    def observe(self, record: Record | None, now_s: float) -> Move:
        """What the API server has now; answers what to do about it."""
        if record != self._record:
            self._record, self._changed_s = record, now_s
        if record is None:
            return Create()
        if record.holder == self.identity:
            is_held = now_s < self._until_s
            return Renew(record.version, record.transitions) if is_held else Take(record.version, record.transitions)
        self._until_s = float("-inf")
        if not record.holder or now_s >= self._changed_s + record.duration_s:
            return Take(record.version, record.transitions + 1)
        return Stand(record.holder)

    def written(self, record: Record, sent_s: float) -> None:
        """Our write succeeded; `sent_s` is when it was sent."""
        self._record, self._changed_s = record, sent_s
        self._until_s = sent_s + self.duration_s

    def released(self) -> None:
        self._until_s = float("-inf")

    def may_write(self, deadline_s: float) -> bool:
        """Whether we lead until then."""
        return deadline_s <= self._until_s
