"""The limit: an asyncio protocol that reads only what it must, and writes the bytes that our server writes."""

from __future__ import annotations

import asyncio
import secrets
import sys

import msgspec
import uvloop

from benchmarks.fake_generator import WORDS, FakeGenerator
from kaito.inference.generation import Delta, Job, Outcome, Sampling

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Wanted(msgspec.Struct):
    stream: bool = False
    max_tokens: int = 16


WANTED = msgspec.json.Decoder(Wanted)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Bare(asyncio.Protocol):
    def __init__(self, generator: FakeGenerator) -> None:
        self._generator = generator
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = body[length:]
        self._answer(WANTED.decode(body[:length]))

    def _answer(self, wanted: Wanted) -> None:
        request_id = secrets.token_hex(16)
        start = (
            b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":1,"model":"fake",'
            b'"choices":[{"index":0,"delta":' % request_id.encode()
        )
        write = self._transport.write  # type: ignore[attr-defined]
        said = (
            {word: chunked(start + b'{"content":"%b"},"finish_reason":null}]}\n\n' % word.encode()) for word in WORDS}
            if wanted.stream
            else {}
        )
        pieces: list[str] = []

        def sink(outcomes: list[tuple[int, Outcome]]) -> None:
            for _, outcome in outcomes:
                assert isinstance(outcome, Delta)
                if wanted.stream:
                    write(said[outcome.text])
                else:
                    pieces.append(outcome.text)
                if outcome.finish:
                    write(chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n" if wanted.stream else whole(pieces))

        if wanted.stream:
            write(HEAD + chunked(start + b'{"role":"assistant","content":""},"finish_reason":null}]}\n\n'))
        job = Job(request_id, [1], Sampling(wanted.max_tokens), sink)
        asyncio.get_running_loop().create_task(self._generator.submit(job))


def whole(pieces: list[str]) -> bytes:
    body = msgspec.json.encode({"choices": [{"message": {"content": "".join(pieces)}}]})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def main(step_s: float) -> None:
    generator = FakeGenerator(step_s=step_s)
    server = await asyncio.get_running_loop().create_server(lambda: Bare(generator), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))
