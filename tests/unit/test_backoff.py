"""Waits are bounded, grow, and start over after a reset."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.backoff import Backoff


@given(st.integers(), st.integers(1, 30))
def test_each_wait_lies_in_the_upper_half_of_a_doubling_bound(seed: int, tries: int) -> None:
    backoff = Backoff(0.5, 30.0, Random(seed))
    for index in range(tries):
        bound_s = min(0.5 * 2**index, 30.0)
        assert bound_s / 2 <= backoff.next_s() <= bound_s
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_bounds_must_make_sense() -> None:
    with pytest.raises(ValueError, match="initial_s"):
        Backoff(2, 1, Random(0))
