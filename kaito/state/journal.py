"""Journal: what the operator heard and what it decided, in order, in a bounded ring; a dump of it can be replayed.

What falls out of the ring is folded into a base, so that a dump always begins with the whole world as it was before the
oldest entry. Both hold the very objects that the graph holds or held: recording costs a tuple, a dump does the work.

| what       | kind, ref         | content                                                        |
|------------|-------------------|----------------------------------------------------------------|
| discovered |                   | (major, minor) of the server                                   |
| listed     | kind              | the list, complete: {ref: object}; what is not in it is gone   |
| applied    | kind, ref         | the object, added or changed                                   |
| deleted    | kind, ref         |                                                                |
| absent     | kind              |                                                                |
| named      | kind, ref         | the object of a kind that is watched by name; None: not there  |
| forgotten  | kind, ref         |                                                                |
| answered   | ref (the root)    | (key, Answer)                                                  |
| planned    | ref (the root)    | the actions                                                    |
| ended      | ref (the root)    | how the turn ended, and why it was taken                       |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias, assert_never

from kaito.api.meta import ObjectRef, ResourceKind
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent
from kaito.state.view import Answer

ENTRIES_MAX = 1_000  # an entry keeps an object or a plan alive: 20 to 30 KB where it is a Workspace

What: TypeAlias = Literal[
    "discovered", "listed", "applied", "deleted", "absent", "named", "forgotten", "answered", "planned", "ended"
]


class Entry(NamedTuple):
    """`seq` counts from 1 and never starts over; entries of the base have 0 and the time of the last one folded in."""

    seq: int
    at: datetime
    what: What
    kind: ResourceKind | None = None
    ref: ObjectRef | None = None
    content: Any = None


class Journal:
    """Law: the base and the ring together replay to the graph as it is."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._ring: deque[Entry] = deque()
        self._entries_max = entries_max
        self._count = 0
        self._base = _Base()
        self._lists: dict[ResourceKind, dict[ObjectRef, Any]] = {}  # lists in progress

    def __len__(self) -> int:
        return len(self._ring)

    def heard(self, at: datetime, kind: ResourceKind, event: WatchEvent) -> None:
        """One event of a watch stream; a list becomes one entry, when it is complete."""
        match event:
            case Apply(ref, obj):
                self.record(at, "applied", kind, ref, obj)
            case Delete(ref, _):
                self.record(at, "deleted", kind, ref)
            case InitApply(ref, obj):
                self._lists.setdefault(kind, {})[ref] = obj
            case Init():
                self._lists[kind] = {}
            case InitDone():
                self.record(at, "listed", kind, None, self._lists.pop(kind, {}))
            case _:
                assert_never(event)

    def record(
        self,
        at: datetime,
        what: What,
        kind: ResourceKind | None = None,
        ref: ObjectRef | None = None,
        content: Any = None,
    ) -> None:
        """Appends an entry; when the ring is full the oldest is folded into the base."""
        self._count += 1
        self._ring.append(Entry(self._count, at, what, kind, ref, content))
        if len(self._ring) > self._entries_max:
            self._base.fold(self._ring.popleft())

    def entries(self) -> Iterator[Entry]:
        """The base, as the shortest history that leads to it, then the ring."""
        yield from self._base.entries()
        yield from self._ring


class _Base:
    """The world before the oldest entry of the ring."""

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._server: Any = None
        self._objects: dict[ResourceKind, dict[ObjectRef, Any]] = {}  # of every kind that was listed
        self._absent: dict[ResourceKind, None] = {}
        self._named: dict[ObjectRef, tuple[ResourceKind, Any]] = {}
        self._answers: dict[tuple[ObjectRef, str], Answer] = {}

    def fold(self, entry: Entry) -> None:
        self._at = entry.at
        _, _, what, kind, ref, content = entry
        match what:
            case "applied":
                self._objects.setdefault(_given(kind), {})[_given(ref)] = content
            case "deleted":
                self._objects.setdefault(_given(kind), {}).pop(_given(ref), None)
                self._forget_answers(_given(ref))
            case "listed":
                self._absent.pop(_given(kind), None)
                self._list(_given(kind), content)
            case "absent":
                self._absent[_given(kind)] = None
                self._list(_given(kind), {})
            case "named":
                self._named[_given(ref)] = (_given(kind), content)
            case "forgotten":
                self._named.pop(_given(ref), None)
            case "answered":
                key, answer = content
                self._answers[_given(ref), key] = answer
            case "discovered":
                self._server = content
            case "planned" | "ended":
                pass
            case _:
                assert_never(what)

    def entries(self) -> Iterator[Entry]:
        at = self._at
        if at is None:
            return
        if self._server is not None:
            yield Entry(0, at, "discovered", content=self._server)
        for kind, objects in self._objects.items():
            yield Entry(0, at, "absent" if kind in self._absent else "listed", kind, None, objects)
        for ref, (kind, obj) in self._named.items():
            yield Entry(0, at, "named", kind, ref, obj)
        for (root, key), answer in self._answers.items():
            yield Entry(0, at, "answered", None, root, (key, answer))

    def _list(self, kind: ResourceKind, objects: dict[ObjectRef, Any]) -> None:
        for ref in self._objects.get(kind, {}):
            if ref not in objects:
                self._forget_answers(ref)
        self._objects[kind] = objects

    def _forget_answers(self, root: ObjectRef) -> None:
        for key in [key for key in self._answers if key[0] == root]:
            del self._answers[key]


def _given(value: Any) -> Any:
    assert value is not None
    return value
