"""Bounded, jittered, exponential. Pure: the source of chance is passed in."""

from __future__ import annotations

from typing import Protocol


class Chance(Protocol):
    def uniform(self, a: float, b: float) -> float: ...


class Backoff:
    """Each wait lies between half and the whole of a bound that doubles from `initial_s` up to `max_s`."""

    def __init__(self, initial_s: float, max_s: float, rng: Chance) -> None:
        if not 0 < initial_s <= max_s:
            raise ValueError(f"expected 0 < initial_s <= max_s, got {initial_s} and {max_s}")
        self._initial_s, self._max_s, self._rng = initial_s, max_s, rng
        self._bound_s = initial_s

    def next_s(self) -> float:
        wait_s = self._rng.uniform(self._bound_s / 2, self._bound_s)
        self._bound_s = min(self._bound_s * 2, self._max_s)
        return wait_s

    def reset(self) -> None:
        self._bound_s = self._initial_s
