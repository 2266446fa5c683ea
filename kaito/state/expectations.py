"""Writes that were sent and have not been seen again yet. They park their root: it is not planned on a stale view.

An expectation opens before its request is sent, so that an event that overtakes the answer is not missed: until the
answer names the new resourceVersion, every version seen of the object is remembered. It is met by that very version, by
a deletion of that uid (a patch that removes the last finalizer is only ever seen as one, under a version that no answer
names), or by a relist that began after the write was answered; it expires with a warning, because a watch may never
show a version (it was coalesced away).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kaito.api.meta import ObjectRef

EXPIRY_S = 30.0


@dataclass(slots=True, eq=False)
class Expectation:
    """`version` is None until the write was answered; `answered_s` and `deadline_s` are monotonic seconds."""

    root: ObjectRef
    ref: ObjectRef
    deadline_s: float
    uid: str = ""
    is_deletion: bool = False
    is_status: bool = False
    version: str | None = None
    answered_s: float = 0.0
    is_dropped: bool = False
    is_gone: bool = False  # its object was deleted before the answer came
    seen: set[str] = field(default_factory=set)


class Expectations:
    def __init__(self) -> None:
        self._by_object: dict[ObjectRef, list[Expectation]] = {}
        self._by_root: dict[ObjectRef, list[Expectation]] = {}
        self._oldest: deque[Expectation] = deque()  # all live for the same time, so in order of their deadlines

    def __len__(self) -> int:
        return sum(len(found) for found in self._by_root.values())

    def open(
        self,
        root: ObjectRef,
        ref: ObjectRef,
        *,
        now_s: float,
        uid: str = "",
        is_deletion: bool = False,
        is_status: bool = False,
    ) -> Expectation:
        """To be called before the request is sent."""
        opened = Expectation(root, ref, now_s + EXPIRY_S, uid, is_deletion, is_status)
        self._by_object.setdefault(ref, []).append(opened)
        self._by_root.setdefault(root, []).append(opened)
        self._oldest.append(opened)
        return opened

    def answered(self, opened: Expectation, *, version: str, now_s: float) -> bool:
        """The write was carried out as this version. Returns whether the graph has seen it already."""
        opened.version, opened.answered_s = version, now_s
        if opened.is_gone or version in opened.seen:
            self.drop(opened)
            return True
        opened.seen.clear()
        return False

    def drop(self, opened: Expectation) -> None:
        """The write failed, or nothing will come of it."""
        opened.is_dropped = True
        for index, key in ((self._by_object, opened.ref), (self._by_root, opened.root)):
            found = index.get(key, [])
            if opened in found:
                found.remove(opened)
            if not found:
                index.pop(key, None)

    def is_own_status(self, ref: ObjectRef, version: str) -> bool:
        """Whether this version of the root is what our own write of its status made: no news for its planner."""
        return any(opened.is_status and opened.version == version for opened in self._by_object.get(ref, ()))

    def observe(
        self, ref: ObjectRef, *, uid: str, version: str, is_deleted: bool, is_leaving: bool = False
    ) -> frozenset[ObjectRef]:
        """An event of the object reached the graph. Returns the roots that were waiting for it.

        `is_leaving`: it has a deletionTimestamp. That is what a deletion writes; finalizers may hold it long after.
        """
        met = set()
        for opened in tuple(self._by_object.get(ref, ())):
            is_gone = bool(opened.uid) and (is_deleted or uid != opened.uid)
            if opened.is_deletion:
                is_met = is_deleted or is_leaving or is_gone
            else:
                is_met = opened.version is not None and (version == opened.version or is_gone)
            if is_met:
                self.drop(opened)
                met.add(opened.root)
            elif opened.version is None:
                opened.is_gone |= is_gone
                opened.seen.add(version)
        return frozenset(met)

    def relisted(self, kind: str, began_s: float) -> frozenset[ObjectRef]:
        """A list of the kind that began at `began_s` is complete: it shows all that was answered before."""
        met = set()
        for ref in [ref for ref in self._by_object if ref.kind == kind]:
            for opened in tuple(self._by_object.get(ref, ())):
                if (opened.version is not None or opened.is_deletion) and opened.answered_s <= began_s:
                    self.drop(opened)
                    met.add(opened.root)
        return frozenset(met)

    def unmet(self, root: ObjectRef) -> tuple[Expectation, ...]:
        """What the root still waits for."""
        return tuple(self._by_root.get(root, ()))

    def expire(self, now_s: float) -> tuple[Expectation, ...]:
        """Gives up on what is overdue, and returns it for the log."""
        overdue = []
        while (opened := self._first()) is not None and opened.deadline_s <= now_s:
            self.drop(opened)
            overdue.append(opened)
        return tuple(overdue)

    def next_deadline_s(self) -> float | None:
        first = self._first()
        return None if first is None else first.deadline_s

    def _first(self) -> Expectation | None:
        """The one that expires first; forgets those that were dropped meanwhile."""
        while self._oldest and self._oldest[0].is_dropped:
            self._oldest.popleft()
        return self._oldest[0] if self._oldest else None
