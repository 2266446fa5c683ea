"""A proxy that tunnels (RFC 9110, CONNECT), as companies have them: names lead to ports of this machine."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer

USER, PASSWORD = "who", "s3cret"


@dataclass
class ConnectProxy:
    """`world`: HOST:PORT to the port of loopback that stands for it. `asked`: what was tunnelled to, in order."""

    world: Mapping[str, int]
    address: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{USER}:{PASSWORD}@{self.address}"

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[str, int]:
        """The status line's end, and the port to tunnel to; 0 for none."""
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("proxy-authorization") != f"Basic {token}":
            return "407 Proxy Authentication Required", 0
        if target not in self.world:
            return "403 Forbidden", 0
        return "200 Connection established", self.world[target]


@contextmanager
def running_proxy(world: Mapping[str, int]) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy(world)

    class Tunnel(StreamRequestHandler):
        def handle(self) -> None:
            method, target, _ = self.rfile.readline().decode().split()
            lines = iter(lambda: self.rfile.readline().decode().strip(), "")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            proxy.asked.append(f"{method} {target}")
            status, port = proxy.answer(target, headers)
            self.wfile.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
            if port:
                with socket.create_connection(("127.0.0.1", port)) as far:
                    back = threading.Thread(target=_pipe, args=(far, self.connection), daemon=True)
                    back.start()
                    _pipe(self.connection, far)
                    back.join()

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Tunnel) as server:
        proxy.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
