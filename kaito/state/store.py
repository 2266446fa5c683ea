"""The objects of one kind. A relist builds beside the set in use; `InitDone` swaps and reports what changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaito.api.meta import ObjectRef
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent

Change = tuple[ObjectRef, Any | None, Any | None]  # ref, before, after: None where it does not exist


class Store:
    """Law: after an InitDone the content is exactly what was listed and what has been applied since."""

    def __init__(self) -> None:
        self._objects: dict[ObjectRef, Any] = {}
        self._beside: dict[ObjectRef, Any] | None = None
        self.is_synced = False

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[ObjectRef]:
        return iter(self._objects)

    def get(self, ref: ObjectRef) -> Any | None:
        return self._objects.get(ref)

    def put(self, ref: ObjectRef, obj: Any) -> None:
        """The same object in another shape: one that shares what is equal with the one before."""
        self._objects[ref] = obj

    def items(self) -> Iterator[tuple[ObjectRef, Any]]:
        return iter(self._objects.items())

    def receive(self, event: WatchEvent) -> tuple[Change, ...]:
        """Takes the event in and returns what is different now."""
        match event:
            case Apply(ref, obj):
                before = self._objects.get(ref)
                self._objects[ref] = obj
                return ((ref, before, obj),)
            case Delete(ref, _):
                before = self._objects.pop(ref, None)
                return ((ref, before, None),) if before is not None else ()
            case Init():
                self._beside = {}
                return ()
            case InitApply(ref, obj):
                if self._beside is None:
                    raise AssertionError(f"InitApply of {ref} without Init")
                self._beside[ref] = obj
                return ()
            case InitDone():
                return self._swap()

    def clear(self) -> tuple[Change, ...]:
        """The kind is absent: an empty set that is known to be empty."""
        self._beside = {}
        return self._swap()

    def discard(self, ref: ObjectRef) -> tuple[Change, ...]:
        """Forgets one object of a kind that is watched by name."""
        before = self._objects.pop(ref, None)
        return ((ref, before, None),) if before is not None else ()

    def _swap(self) -> tuple[Change, ...]:
        before, after = self._objects, self._beside
        if after is None:
            raise AssertionError("InitDone without Init")
        self._objects, self._beside, self.is_synced = after, None, True
        vanished = ((ref, obj, None) for ref, obj in before.items() if ref not in after)
        present = ((ref, before.get(ref), obj) for ref, obj in after.items())
        return (*vanished, *present)
