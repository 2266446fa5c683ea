"""Server-sent events out and in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.web.sse import EventDecoder, EventTooLong, ServerEvent, frame

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(LINES, max_size=5), st.lists(st.integers(1, 7), min_size=1), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_frames_come_back_from_any_pieces_and_line_ends(datas: list[str], sizes: list[int], end: bytes):
    stream = b"".join(frame(data.encode()) for data in datas).replace(b"\n", end)
    decoder, found, at, turn = EventDecoder(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == [ServerEvent(data) for data in datas]


def test_comments_ids_names_and_several_data_lines():
    decoder = EventDecoder()
    text = b"\xef\xbb\xbf: ping\nevent: done\nid: 7\ndata: a\ndata:b\nretry: 3\n\n: only a comment\n\n"
    assert decoder.feed(text) == [ServerEvent("a\nb", "done", "7")]


def test_an_event_without_end_is_bounded():
    decoder = EventDecoder(bytes_max=100)
    with pytest.raises(EventTooLong):
        for _ in range(30):
            decoder.feed(b"data: x\n")
