"""Runner: gate → take a key → plan → apply → again. Wakes on events, never polls.

Between taking a key and having its plan there is no await, so the view cannot change under the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeAlias, assert_never

import anyio
import anyio.abc

from kaito.actors.applier import Applier
from kaito.actors.outcome import Outcome, Retry, Settled, Terminal
from kaito.actors.pace import StatusPace
from kaito.actors.queue import WorkItem, WorkQueue
from kaito.api.meta import ObjectRef
from kaito.backoff import Chance
from kaito.clock import Clock
from kaito.plan.actions import Plan
from kaito.state.expectations import Expectation, Expectations

CONCURRENCY = 16
PLANS_AT_ONCE = 16  # then the loop breathes: a plan takes up to a millisecond
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 60.0
TERMINAL_RECHECK_S = 300.0  # what the server refused for good may be allowed by another version of it
URGENT, ROUTINE = 0, 1

Planner: TypeAlias = Callable[[ObjectRef, datetime], Plan]
Observer: TypeAlias = Callable[[WorkItem, Plan, Outcome, float], None]


class Runner:
    """At most one task per key; a slow or failing root never delays another.

    `is_open`: everything a decision reads is synced, and we lead. `observe(item, plan, outcome, seconds)` is told of
    every turn, `on_expired` of every write that was never seen again, `waited(seconds)` of how long a root that was due
    had to wait for its turn.
    """

    def __init__(
        self,
        planner: Planner,
        applier: Applier,
        expectations: Expectations,
        *,
        now: Clock,
        rng: Chance,
        is_open: Callable[[], bool],
        observe: Observer = lambda *_: None,
        on_expired: Callable[[Expectation], None] = lambda _: None,
        waited: Callable[[float], None] = lambda _seconds: None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.queue = WorkQueue()
        self._pace = StatusPace()
        self._planner, self._applier, self._expectations = planner, applier, expectations
        self._now, self._rng, self._is_open = now, rng, is_open
        self._observe, self._on_expired, self._concurrency = observe, on_expired, concurrency
        self._waited = waited
        self._parked: set[ObjectRef] = set()  # dirtied while they wait for a write to be seen
        self._wake = anyio.Event()

    def dirty(self, roots: Iterable[ObjectRef], reason: str, *, priority: int = URGENT) -> None:
        """These roots have something new to look at."""
        now_s = anyio.current_time()
        for root in roots:
            self.queue.add(root, reason, now_s=now_s, priority=priority)
        self.wake()

    def met(self, roots: Iterable[ObjectRef]) -> None:
        """These roots have seen a write of theirs: what was dirtied meanwhile has its turn now."""
        found = self._parked.intersection(roots)
        self._parked -= found
        if found:
            self.dirty(sorted(found), "write seen")

    def wake(self) -> None:
        """The gate may have opened."""
        self._wake.set()

    async def run(self) -> None:
        """Ends only by cancellation; turns in flight are then cancelled too."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._wake = anyio.Event()
                self._expire()
                if self._is_open():
                    self._start_due(tasks)
                deadline_s = self._next_s()
                with anyio.CancelScope(deadline=float("inf") if deadline_s is None else deadline_s):
                    await self._wake.wait()

    def _start_due(self, tasks: anyio.abc.TaskGroup) -> None:
        """Plans keys that are due; those whose plan writes nothing are through at once and need no task."""
        for _ in range(PLANS_AT_ONCE):
            if self.queue.in_flight >= self._concurrency:
                return
            item = self.queue.take(anyio.current_time())
            if item is None:
                return
            if self._expectations.unmet(item.ref):
                self.queue.done(item.ref)  # parked until the expectations are met or expire
                self._parked.add(item.ref)
                continue
            self._waited(max(0.0, anyio.current_time() - item.due_s))
            whole = self._planner(item.ref, self._now())
            plan = self._paced(whole)
            if self._applier.tell(plan):
                self._end(item, whole, Settled(is_held=plan is not whole), 0.0)
                self.queue.done(item.ref)
            else:
                tasks.start_soon(self._turn, item, plan, name=f"turn {item.ref}")
        self.wake()  # there may be more, once events and answers have had their turn

    def _paced(self, plan: Plan) -> Plan:
        """The plan without a status that may wait; the root then comes back when it may no longer."""
        now_s = anyio.current_time()
        admitted, wait_s = self._pace.admit(plan, now_s)
        if wait_s is not None:
            self.queue.add(plan.root, "status", now_s=now_s, delay_s=wait_s, priority=ROUTINE)
        return admitted

    async def _turn(self, item: WorkItem, plan: Plan) -> None:
        began_s = anyio.current_time()
        try:
            outcome = await self._applier.execute(plan)
            self._end(item, plan, outcome, anyio.current_time() - began_s)
        finally:
            self.queue.done(item.ref)
            self.wake()

    def _end(self, item: WorkItem, plan: Plan, outcome: Outcome, seconds: float) -> None:
        self._requeue(item, plan, outcome)
        self._observe(item, plan, outcome, seconds)

    def _requeue(self, item: WorkItem, plan: Plan, outcome: Outcome) -> None:
        now_s = anyio.current_time()
        match outcome:
            case Settled():
                if plan.recheck_s is not None:
                    self.queue.add(item.ref, "recheck", now_s=now_s, delay_s=plan.recheck_s, priority=ROUTINE)
            case Retry(error, after_s):
                bound_s = min(RETRY_FIRST_S * 2**item.attempts, RETRY_MAX_S)
                delay_s = max(after_s, self._rng.uniform(bound_s / 2, bound_s))
                reason = type(error).__name__
                attempts = min(item.attempts + 1, 16)
                self.queue.add(item.ref, reason, now_s=now_s, delay_s=delay_s, priority=ROUTINE, attempts=attempts)
            case Terminal():
                self.queue.add(item.ref, "refused", now_s=now_s, delay_s=TERMINAL_RECHECK_S, priority=ROUTINE)
            case _:
                assert_never(outcome)

    def _expire(self) -> None:
        for opened in self._expectations.expire(anyio.current_time()):
            self._on_expired(opened)
            self._parked.discard(opened.root)
            self.queue.add(opened.root, "expectation expired", now_s=anyio.current_time())

    def _next_s(self) -> float | None:
        """When time alone makes something due; None: only an event can."""
        due_s = self.queue.next_due_s() if self._is_open() and self.queue.in_flight < self._concurrency else None
        known = [moment for moment in (due_s, self._expectations.next_deadline_s()) if moment is not None]
        return min(known, default=None)
