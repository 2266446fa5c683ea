"""Memo, Last: what a pure function said last of an object. They change no answer, only how often it is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Last(Generic[Value]):
    """The answer for the very object that was asked about last: what several parts of one plan ask again."""

    def __init__(self) -> None:
        self._known: tuple[Any, Value] | None = None

    def get(self, about: Any, compute: Callable[[], Value]) -> Value:
        if self._known is None or self._known[0] is not about:
            self._known = (about, compute())
        return self._known[1]


class Memo(Generic[Value]):
    """One answer per key, valid while its inputs are equal (the very same objects are, at no cost). Bounded.

    `inputs` must hold everything that the answer depends on. Answers are shared: nobody may change them.
    """

    def __init__(self, keys_max: int = 16_384) -> None:
        self._known: dict[Any, tuple[tuple[Any, ...], Value]] = {}
        self._keys_max = keys_max

    def get(self, key: Any, inputs: tuple[Any, ...], compute: Callable[[], Value]) -> Value:
        """The answer for these inputs. What `compute` raises is not remembered."""
        known = self._known.get(key)
        if known is not None and known[0] == inputs:
            if known[0] is not inputs:
                self._known[key] = (inputs, known[1])  # the next comparison is with the very same objects
            return known[1]
        value = compute()
        if known is None and len(self._known) >= self._keys_max:
            del self._known[next(iter(self._known))]
        self._known[key] = (inputs, value)
        return value
