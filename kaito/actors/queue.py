"""WorkQueue: keyed, coalescing, delayed, prioritised, bounded. A pure data structure: time is passed in."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from kaito.api.meta import ObjectRef

REASONS_MAX = 8


@dataclass(slots=True)
class WorkItem:
    """`reasons` is bounded and in order of arrival; a lower `priority` number goes first."""

    ref: ObjectRef
    due_s: float
    priority: int = 0
    attempts: int = 0
    since_s: float = 0.0
    reasons: list[str] = field(default_factory=list)


class WorkQueue:
    """Laws: a key is taken by at most one worker at a time; an add while it is taken is not lost; no key twice.

    An add never postpones: the earliest due time and the most urgent priority win.
    """

    def __init__(self) -> None:
        self._waiting: dict[ObjectRef, WorkItem] = {}
        self._taken: dict[ObjectRef, WorkItem | None] = {}  # in flight → what was added meanwhile
        self._heap: list[tuple[float, int, int, ObjectRef]] = []  # due, priority, order; stale entries are skipped
        self._ready: list[tuple[int, float, int, ObjectRef]] = []  # priority, due, order
        self._order = 0
        self._is_closed = False

    def __len__(self) -> int:
        """Keys that wait, whether due or not; keys in flight are not counted."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._taken)

    def add(
        self, ref: ObjectRef, reason: str, *, now_s: float, delay_s: float = 0.0, priority: int = 0, attempts: int = 0
    ) -> None:
        """Makes the key due after `delay_s`. Coalesces with what is known of the key; ignored after `close`."""
        if self._is_closed:
            return
        if ref in self._taken:
            self._taken[ref] = _merged(self._taken[ref], ref, reason, now_s, delay_s, priority, attempts)
            return
        item = _merged(self._waiting.get(ref), ref, reason, now_s, delay_s, priority, attempts)
        self._waiting[ref] = item
        self._push(item)

    def take(self, now_s: float) -> WorkItem | None:
        """The most urgent key that is due, now in flight; None when none is due."""
        while self._heap and self._heap[0][0] <= now_s:
            due_s, priority, order, ref = heapq.heappop(self._heap)
            heapq.heappush(self._ready, (priority, due_s, order, ref))
        while self._ready:
            priority, due_s, _, ref = heapq.heappop(self._ready)
            if self._is_current(ref, due_s, priority):
                self._taken[ref] = None
                return self._waiting.pop(ref)
        return None

    def done(self, ref: ObjectRef) -> None:
        """The worker is through with the key; what was added meanwhile waits now."""
        again = self._taken.pop(ref)
        if again is not None:
            self._waiting[ref] = again
            self._push(again)

    def forget(self, ref: ObjectRef) -> None:
        """Drops a waiting key."""
        self._waiting.pop(ref, None)

    def next_due_s(self) -> float | None:
        """When the next key is due; None when none waits. May lie in the past."""
        if any(self._is_current(ref, due_s, priority) for priority, due_s, _, ref in self._ready):
            return self._ready[0][1]
        while self._heap and not self._is_current(self._heap[0][3], self._heap[0][0], self._heap[0][1]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def close(self) -> None:
        """Nothing is added any more and nothing waits; keys in flight finish."""
        self._is_closed = True
        self._waiting.clear()

    def _is_current(self, ref: ObjectRef, due_s: float, priority: int) -> bool:
        """Whether a heap entry still says what is known of its key."""
        item = self._waiting.get(ref)
        return item is not None and (item.due_s, item.priority) == (due_s, priority)

    def _push(self, item: WorkItem) -> None:
        self._order += 1
        heapq.heappush(self._heap, (item.due_s, item.priority, self._order, item.ref))


def _merged(
    known: WorkItem | None, ref: ObjectRef, reason: str, now_s: float, delay_s: float, priority: int, attempts: int
) -> WorkItem:
    if known is None:
        return WorkItem(ref, now_s + delay_s, priority, attempts, now_s, [reason])
    reasons = known.reasons
    if reason not in reasons and len(reasons) < REASONS_MAX:
        reasons = [*reasons, reason]
    return WorkItem(
        ref,
        min(known.due_s, now_s + delay_s),
        min(known.priority, priority),
        max(known.attempts, attempts),
        known.since_s,
        reasons,
    )
