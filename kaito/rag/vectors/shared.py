"""Clients that the indexes of a process share: opened by the first, closed after the last."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

REMOTE_THREADS = 8


@dataclass(slots=True)
class Shared:
    """`threads`: one where the client is a local file, which no two threads may use at once."""

    client: Any
    threads: ThreadPoolExecutor
    users: int = 0


class SharedClients:
    """Clients by their address. `open_one` makes one; `close_one` ends it."""

    def __init__(self, open_one: Callable[[str, str], Any], close_one: Callable[[Any], None]) -> None:
        self._open_one, self._close_one = open_one, close_one
        self._clients: dict[tuple[str, str], Shared] = {}
        self._lock = Lock()

    def acquire(self, address: str, secret: str, *, is_local: bool) -> Shared:
        with self._lock:
            shared = self._clients.get((address, secret))
            if shared is None:
                threads = ThreadPoolExecutor(1 if is_local else REMOTE_THREADS, thread_name_prefix="vectors")
                shared = Shared(threads.submit(self._open_one, address, secret).result(), threads)
                self._clients[address, secret] = shared
            shared.users += 1
            return shared

    def release(self, address: str, secret: str) -> None:
        with self._lock:
            shared = self._clients[address, secret]
            shared.users -= 1
            if not shared.users:
                del self._clients[address, secret]
                self._close_one(shared.client)
                shared.threads.shutdown(wait=False)
