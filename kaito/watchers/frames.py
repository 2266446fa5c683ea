"""LineFramer: sans-IO bytes → lines, bounded."""

from __future__ import annotations

LINE_BYTES_MAX = 8 << 20  # etcd refuses objects over 1.5 MiB; managedFields and JSON escapes stay far below this


class LineTooLong(Exception):
    """A line over the bound: the stream cannot be trusted any more."""


class LineFramer:
    """Law: for every split of the same bytes the lines are the same."""

    def __init__(self, bytes_max: int = LINE_BYTES_MAX) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._bytes_max = bytes_max

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that the chunk completes, without their newline; empty lines are left out. Raises LineTooLong."""
        first, newline, others = chunk.partition(b"\n")
        self._rest.append(first)
        self._rest_bytes += len(first)
        if self._rest_bytes > self._bytes_max:
            raise LineTooLong(f"a line of more than {self._bytes_max} bytes")
        if not newline:
            return []
        lines = [b"".join(self._rest), *others.split(b"\n")]
        last = lines.pop()
        self._rest, self._rest_bytes = [last], len(last)
        if self._rest_bytes > self._bytes_max or max(map(len, lines), default=0) > self._bytes_max:
            raise LineTooLong(f"a line of more than {self._bytes_max} bytes")
        return [line for line in lines if line and not line.isspace()]
