"""A watch endpoint on loopback: whoever asks for a watch is sent the same lines, each in an HTTP chunk of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

SLAB_BYTES = 64 << 10  # what goes into one send: the reader, not we, shall be the bottleneck
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def slabs(lines: Iterable[bytes]) -> list[bytes]:
    """The lines as HTTP chunks, as an API server flushes them, gathered for the socket."""
    found, current, size = [], [], 0
    for line in lines:
        current += [b"%x\r\n" % len(line), line, b"\r\n"]
        size += len(line)
        if size >= SLAB_BYTES:
            found.append(b"".join(current))
            current, size = [], 0
    return [*found, b"".join(current)]


async def serve(lines: Iterable[bytes], port_is: asyncio.Future[int]) -> None:
    """Serves until cancelled; each connection gets the whole stream once and stays open then, as a watch does."""
    content = slabs(lines)

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            for slab in content:
                writer.write(slab)
                await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    port_is.set_result(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()
