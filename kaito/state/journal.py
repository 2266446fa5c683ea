"""A bounded ring of events and decisions, dumped as JSON lines: what the operator knew, in order, and what it did."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime

from kaito.api.meta import Json

ENTRIES_MAX = 10_000


class Journal:
    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: deque[Json] = deque(maxlen=entries_max)
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, at: datetime, what: str, **details: object) -> None:
        """Appends an entry; the oldest falls out when the ring is full."""
        self._count += 1
        self._entries.append({"seq": self._count, "at": at.isoformat(), "what": what, **details})

    def lines(self) -> Iterator[str]:
        """One JSON object a line, keys sorted, so that two equal histories are equal byte for byte."""
        return (json.dumps(entry, sort_keys=True, default=str, separators=(",", ":")) for entry in self._entries)


def read_journal(lines: Iterable[str]) -> list[Json]:
    """The entries of a dump. Raises ValueError that names the line."""
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of the journal is not JSON: {error}") from error
    return entries
