"""The queue's laws under any order of adds, takes and dones."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kaito.actors.queue import REASONS_MAX, WorkQueue
from kaito.api.meta import ObjectRef

KEYS = [ObjectRef("Workspace", "default", name) for name in "abcd"]


class QueueLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue, self.now_s = WorkQueue(), 0.0
        self.owed: dict[ObjectRef, float] = {}  # key → by when it must have been takeable
        self.taken: set[ObjectRef] = set()

    @rule(ref=st.sampled_from(KEYS), delay_s=st.sampled_from([0.0, 1.0, 5.0]), priority=st.integers(0, 2))
    def add(self, ref: ObjectRef, delay_s: float, priority: int) -> None:
        self.queue.add(ref, f"because {delay_s}", now_s=self.now_s, delay_s=delay_s, priority=priority)
        self.owed[ref] = min(self.owed.get(ref, float("inf")), self.now_s + delay_s)

    @rule(step_s=st.sampled_from([0.0, 0.5, 2.0]))
    def pass_time(self, step_s: float) -> None:
        self.now_s += step_s

    @rule()
    def take(self) -> None:
        item = self.queue.take(self.now_s)
        due = {ref for ref, due_s in self.owed.items() if due_s <= self.now_s and ref not in self.taken}
        if item is None:
            assert not due
            return
        assert item.ref in due and item.ref not in self.taken
        assert 1 <= len(item.reasons) <= REASONS_MAX
        self.taken.add(item.ref)
        del self.owed[item.ref]

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(sorted(self.taken)))
        self.queue.done(ref)
        self.taken.remove(ref)

    @invariant()
    def what_is_owed_waits_or_is_in_flight(self) -> None:
        waiting = {ref: due_s for ref, due_s in self.owed.items() if ref not in self.taken}
        assert len(self.queue) == len(waiting)
        assert self.queue.in_flight == len(self.taken)
        next_s = self.queue.next_due_s()
        assert (next_s is None) == (not waiting)
        if next_s is not None and min(waiting.values()) > self.now_s:
            assert next_s == min(waiting.values())


TestQueueLaws = QueueLaws.TestCase
TestQueueLaws.settings = settings(max_examples=80, stateful_step_count=40)


def test_the_more_urgent_key_goes_first_among_those_that_are_due() -> None:
    queue = WorkQueue()
    queue.add(KEYS[0], "resync", now_s=0, priority=1)
    queue.add(KEYS[1], "changed", now_s=0, priority=0)
    queue.add(KEYS[2], "later", now_s=0, delay_s=9, priority=0)
    assert [item.ref for _ in range(2) if (item := queue.take(0))] == [KEYS[1], KEYS[0]]
    assert queue.take(8.9) is None


def test_nothing_enters_a_closed_queue() -> None:
    queue = WorkQueue()
    queue.add(KEYS[0], "changed", now_s=0)
    queue.close()
    queue.add(KEYS[1], "changed", now_s=0)
    assert queue.take(0) is None and len(queue) == 0
