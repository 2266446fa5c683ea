"""Log files of containers: one line per line of output, with its time; rotated by size; readable while they grow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import anyio

from kaito.clock import Clock, parse_rfc3339

BYTES_MAX = 10 << 20  # the kubelet's containerLogMaxSize …
LINE_BYTES_MAX = 16 << 10  # … and CRI's longest line: a longer one is cut into several
ROTATED_SUFFIX = ".1"
CHUNK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class LogRequest:
    """What to read. `tail_lines` None: from the start; `since`: only lines from then on."""

    tail_lines: int | None = None
    since: datetime | None = None
    has_timestamps: bool = False
    is_followed: bool = False
    bytes_max: int | None = None


class ContainerLog:
    """One container run's log: the current file and the one that was rotated before it."""

    def __init__(self, path: Path, now: Clock, *, bytes_max: int = BYTES_MAX) -> None:
        self._path = path
        self._now = now
        self._bytes_max = bytes_max
        self._rest = b""
        self._grown = anyio.Event()
        self._rotations = 0
        self.is_closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def feed(self, data: bytes) -> None:
        """Appends output; whole lines are written at once."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) >= LINE_BYTES_MAX:
            lines.append(self._rest[:LINE_BYTES_MAX])
            self._rest = self._rest[LINE_BYTES_MAX:]
        self._write(lines)

    def close(self) -> None:
        if self.is_closed:
            return
        if self._rest:
            self._write([self._rest])
            self._rest = b""
        self.is_closed = True
        self._file.close()
        self._wake()

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
        self._file.write(b"".join(stamp + line + b"\n" for line in lines))
        self._file.flush()
        if self._file.tell() >= self._bytes_max:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ROTATED_SUFFIX))
            self._file = self._path.open("ab")
            self._rotations += 1
        self._wake()

    def _wake(self) -> None:
        grown, self._grown = self._grown, anyio.Event()
        grown.set()

    async def stream(self, request: LogRequest) -> AsyncIterator[bytes]:
        """The lines that the request asks for, then those that come, until the container ends."""
        left = request.bytes_max
        async for line in self._lines(request):
            if left is not None:
                line = line[:left]
                left -= len(line)
            yield line
            if left == 0:
                return

    async def _lines(self, request: LogRequest) -> AsyncIterator[bytes]:
        rotations, place = self._rotations, self._path.stat().st_size
        for line in read_lines(self._path, request):
            yield line
        while request.is_followed:
            grown = self._grown
            if rotations != self._rotations:
                rotated = self._path.with_name(self._path.name + ROTATED_SUFFIX)
                for line in _shown_from(rotated, place, request) if rotations + 1 == self._rotations else ():
                    yield line
                rotations, place = self._rotations, 0
            size = self._path.stat().st_size
            for line in _shown_from(self._path, place, request, size):
                yield line
            place = size
            if self.is_closed:
                return
            await grown.wait()


def read_lines(path: Path, request: LogRequest) -> list[bytes]:
    """The lines on disk that the request asks for; none where there is no log yet."""
    lines: list[bytes] = []
    for part in (path.with_name(path.name + ROTATED_SUFFIX), path):
        if part.exists():
            lines += part.read_bytes().splitlines(keepends=True)
    if request.tail_lines is not None:
        lines = lines[-request.tail_lines :] if request.tail_lines > 0 else []
    return [shown for line in lines if (shown := _shown(line, request))]


def tail_text(path: Path, *, lines: int, bytes_max: int) -> str:
    """The end of a log as text, without times: a container's last words."""
    found = b"".join(read_lines(path, LogRequest(tail_lines=lines)))
    return found[-bytes_max:].decode(errors="replace")


def _shown_from(path: Path, start: int, request: LogRequest, end: int | None = None) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(-1 if end is None else max(0, end - start))
    return [shown for line in data.splitlines(keepends=True) if (shown := _shown(line, request))]


def _shown(line: bytes, request: LogRequest) -> bytes:
    stamp, _, text = line.partition(b" ")
    if request.since is not None and parse_rfc3339(stamp.decode()) < request.since:
        return b""
    return line if request.has_timestamps else text
