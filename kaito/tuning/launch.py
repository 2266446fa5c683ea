"""One process a GPU: starts them, passes signals on, ends all when one fails, and returns the status that tells why.

`accelerate` inside the trainer reads the variables set here. Its own launcher would turn every exit status into 1, and
the operator must tell a bad configuration from a crash.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType

GRACE_S = 20.0  # for the others, once one has failed
TELL_S = 5.0  # for the first rank, which alone tells what all of them have found wrong


def launch(argv: Sequence[str], processes: int) -> int:
    """Runs `python -m kaito.tuning` so many times as ranks of one group. Returns the first failure's status, or 0."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "kaito.tuning", *argv],
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]

    def forward(number: int, _: FrameType | None) -> None:
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    ended: SimpleQueue[int] = SimpleQueue()
    for rank in ranks:
        threading.Thread(target=lambda process=rank: ended.put(process.wait()), daemon=True).start()
    status = 0
    for _ in ranks:
        code = ended.get()
        if code and not status:
            status = code if code > 0 else 128 - code
            _end_all(ranks)
    return status


def _end_all(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    with suppress(subprocess.TimeoutExpired):
        ranks[0].wait(TELL_S)
    for rank in ranks:
        if rank.poll() is None:
            rank.terminate()
    for rank in ranks:
        try:
            rank.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            rank.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
