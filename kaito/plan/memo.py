"""What a pure function said last of an object. This changes no answer, only how often it is computed."""

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


class Known(Generic[Value]):
    """A value per key, in bounded number: the oldest key goes."""

    def __init__(self, keys_max: int = 16_384) -> None:
        self._values: dict[Any, Value] = {}
        self._keys_max = keys_max

    def get(self, key: Any) -> Value | None:
        return self._values.get(key)

    def put(self, key: Any, value: Value) -> None:
        if key not in self._values and len(self._values) >= self._keys_max:
            del self._values[next(iter(self._values))]
        self._values[key] = value


class Memo(Generic[Value]):
    """One answer per key, valid while its inputs are equal (the very same objects are, at no cost).

    `inputs` must hold everything that the answer depends on. Answers are shared: nobody may change them.
    """

    def __init__(self) -> None:
        self._known: Known[tuple[tuple[Any, ...], Value]] = Known()

    def get(self, key: Any, inputs: tuple[Any, ...], compute: Callable[[], Value]) -> Value:
        """The answer for these inputs. What `compute` raises is not remembered."""
        known = self._known.get(key)
        value = known[1] if known is not None and known[0] == inputs else compute()
        self._known.put(key, (inputs, value))  # also where they are equal: next time they are the very same
        return value
