"""Stop strings in text that comes in pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kaito.inference.stops import StopMatcher

ALPHABET = st.text(alphabet="ab\n", max_size=30)


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(edges)]


@given(ALPHABET, st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 99)))
def test_pieces_give_what_the_whole_gives(text: str, stops: list[str], places: list[int]):
    matcher = StopMatcher(tuple(stops))
    out, met = "", ""
    for piece in cut(text, places):
        passed, met = matcher.feed(piece)
        out += passed
        if met:
            break
    else:
        out += matcher.flush()
    ends = [(text.index(stop) + len(stop), stop) for stop in stops if stop in text]
    if not ends:
        assert (out, met) == (text, "")
        return
    first = min(end for end, _ in ends)
    longest = max((stop for end, stop in ends if end == first), key=len)
    assert (out, met) == (text[: first - len(longest)], longest)


def test_what_may_become_a_stop_string_is_held_and_what_cannot_is_not():
    matcher = StopMatcher(("END",))
    assert matcher.feed("the E") == ("the ", "")
    assert matcher.feed("N") == ("", "")
    assert matcher.feed("T") == ("ENT", "")


def test_the_stop_string_stays_where_that_is_asked_for():
    assert StopMatcher(("b",), keeps_stop=True).feed("abc") == ("ab", "b")
