"""Lines are the same for every split of the same bytes, and bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.watchers.frames import LineFramer, LineTooLong


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b), max_size=8), st.lists(st.integers(0, 200)))
def test_every_split_of_the_bytes_gives_the_same_lines(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    framer = LineFramer()
    found = [line for a, b in pairwise(edges) for line in framer.feed(text[a:b])]
    assert found == [line for line in lines if line and not line.isspace()]


def test_a_line_over_the_bound_is_refused_whether_complete_or_not() -> None:
    with pytest.raises(LineTooLong):
        LineFramer(bytes_max=10).feed(b"x" * 11)
    with pytest.raises(LineTooLong):
        LineFramer(bytes_max=10).feed(b"ok\n" + b"x" * 11 + b"\n")
    framer = LineFramer(bytes_max=10)
    framer.feed(b"x" * 10)
    with pytest.raises(LineTooLong):
        framer.feed(b"x")
