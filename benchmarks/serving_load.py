"""The load of `benchmarks.serving`: as little Python as it takes to ask and to count.

`python -m benchmarks.serving_load PORT CONNECTIONS TIMES TOKENS` streams, and prints the seconds.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

import msgspec

BODY = {
    "model": "fake",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What does an operator do?"}],
    "temperature": 0.7,
    "top_p": 0.95,
    "seed": 7,
    "ignore_eos": True,
}


def request(tokens: int, *, stream: bool) -> bytes:
    body = msgspec.json.encode({**BODY, "max_tokens": tokens, "stream": stream})
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body


class Reader(asyncio.Protocol):
    """Asks `times` times on one connection. `mark` ends an answer; events are counted by their blank lines."""

    def __init__(self, ask: bytes, times: int, mark: bytes, done: asyncio.Future[None]) -> None:
        self.ask, self.times, self.mark, self.done = ask, times, mark, done
        self.events = 0
        self.first_s: list[float] = []
        self._tail = b""
        self._is_first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._is_first, self._sent = True, perf_counter()
        self._transport.write(self.ask)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self._is_first and b'"content":"' in data:
            self._is_first = False
            self.first_s.append(perf_counter() - self._sent)
        self.events += data.count(b"\n\n")
        self._tail = (self._tail + data)[-64:]
        if self.mark not in self._tail:
            return
        self._tail = b""
        self.times -= 1
        if self.times:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            if self.times:
                self.done.set_exception(error or ConnectionError(f"{self.times} answers are missing"))
            else:
                self.done.set_result(None)


async def run(port: int, *, connections: int, times: int, tokens: int, stream: bool) -> tuple[float, list[Reader]]:
    """(seconds, readers) of `connections` clients that ask `times` times each."""
    loop = asyncio.get_running_loop()
    mark = b"\r\n0\r\n\r\n" if stream else b"}"
    readers = []
    begun = perf_counter()
    for _ in range(connections):
        reader = Reader(request(tokens, stream=stream), times, mark, loop.create_future())
        readers.append(reader)
        await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(reader.done for reader in readers))
    return perf_counter() - begun, readers


if __name__ == "__main__":
    port, connections, times, tokens = map(int, sys.argv[1:])
    print(asyncio.run(run(port, connections=connections, times=times, tokens=tokens, stream=True))[0])
