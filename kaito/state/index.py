"""Index: keys → the objects that hold them. Most keys have one holder, so a few are kept in a tuple: a dict of one
costs 232 bytes, a tuple of one 48."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

from kaito.api.meta import ObjectRef
from kaito.state.edges import Key

TUPLE_MAX = 4  # beyond that a dict, so that adding and removing stay constant in time

_Holders: TypeAlias = "tuple[ObjectRef, ...] | dict[ObjectRef, None]"


class Index:
    """Laws: a key without holders is not there; adding twice is adding once; holders are in order of arrival."""

    def __init__(self) -> None:
        self._held: dict[Key, _Holders] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._held

    def holders(self, key: Key) -> Collection[ObjectRef]:
        return self._held.get(key, ())

    def items(self) -> Iterator[tuple[Key, Collection[ObjectRef]]]:
        return iter(self._held.items())

    def add(self, key: Key, ref: ObjectRef) -> None:
        held = self._held.get(key)
        if held is None:
            self._held[key] = (ref,)
        elif isinstance(held, dict):
            held[ref] = None
        elif ref not in held:
            self._held[key] = (*held, ref) if len(held) < TUPLE_MAX else dict.fromkeys((*held, ref))

    def discard(self, key: Key, ref: ObjectRef) -> None:
        held = self._held.get(key)
        if isinstance(held, dict):
            held.pop(ref, None)
            if not held:
                del self._held[key]
        elif held is not None and ref in held:
            left = tuple(other for other in held if other != ref)
            if left:
                self._held[key] = left
            else:
                del self._held[key]
