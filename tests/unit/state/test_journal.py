"""The journal forgets the oldest first, and reads back what it wrote."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kaito.state.journal import Journal, read_journal

AT = datetime(2026, 1, 31, tzinfo=UTC)


def test_the_ring_is_bounded_and_numbers_go_on() -> None:
    journal = Journal(entries_max=2)
    for index in range(3):
        journal.record(AT, "planned", index=index)
    assert [(entry["seq"], entry["index"]) for entry in read_journal(journal.lines())] == [(2, 1), (3, 2)]


def test_a_broken_line_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        read_journal(["{}", "{"])
