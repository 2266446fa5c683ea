"""Server-sent events, sans-IO: frames out, and events from whatever bytes come in."""

from __future__ import annotations

from dataclasses import dataclass, field

DONE = b"data: [DONE]\n\n"
CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx: pass each event on at once
}


class EventTooLong(ValueError):
    """An event longer than the decoder's bound."""


def frame(data: bytes, *, event: bytes = b"") -> bytes:
    """One event. `data` is one line."""
    if event:
        return b"event: " + event + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    data: str
    event: str = "message"
    id: str = ""


@dataclass(slots=True)
class EventDecoder:
    """Bytes in any pieces to events, after the WHATWG's rules (CR, LF and CRLF end a line; BOM, comments, retry).

    One byte of a CRLF may come later than the other. `bytes_max` bounds an event that has not ended.
    """

    bytes_max: int = 4 << 20
    _rest: bytes = b""
    _lines: list[bytes] = field(default_factory=list)
    _held: int = 0
    _skip_lf: bool = False
    _started: bool = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that this chunk ends. Raises EventTooLong."""
        data = self._rest + chunk
        if not self._started and data:
            if len(data) < 3 and b"\xef\xbb\xbf".startswith(data):
                self._rest = data
                return []
            data = data.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        if self._skip_lf and data:
            data = data.removeprefix(b"\n")
            self._skip_lf = False
        *lines, self._rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._skip_lf = data.endswith(b"\r")  # its LF may be on the way
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._held + len(self._rest) > self.bytes_max:
            raise EventTooLong(f"a server-sent event of more than {self.bytes_max} bytes")
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if line:
            self._held += len(line)
            self._lines.append(line)
            return None
        lines, self._lines, self._held = self._lines, [], 0
        return _event(lines)


def _event(lines: list[bytes]) -> ServerEvent | None:
    """What a block of lines says; None where it carries no data."""
    data: list[str] = []
    name, identity = "message", ""
    for line in lines:
        key, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if key == b"data":
            data.append(text)
        elif key == b"event":
            name = text
        elif key == b"id":
            identity = text
    return ServerEvent("\n".join(data), name, identity) if data else None
