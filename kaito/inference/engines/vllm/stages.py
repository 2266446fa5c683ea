"""How far vLLM's start is. Its engine runs in processes of its own, and says where it is in their logs alone.

So a log handler of ours joins vLLM's own in every process of this machine, and tells the stages that it recognises to
a datagram socket of the server's. vLLM imports this module where it sets its logs up: it imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from kaito.inference.engine import Progress, Report

# What vLLM's messages have in them, and the stage that begins with them.
STAGES = (
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("Starting to load model", "loading"),
    ("Model loading took", "measuring memory"),
    ("Warming up model for the compilation", "compiling"),
    ("Using cache directory:", "compiling"),
    ("Dynamo bytecode transform time", "compiling"),
    ("Cache the graph", "compiling"),
    ("Compiling a graph", "compiling"),
    ("Available KV cache memory", "allocating the KV cache"),
    ("GPU KV cache size", "capturing graphs"),
    ("CPU KV cache size", "warming up"),
    ("Graph capturing finished", "warming up"),
    ("init engine (profile", "opening the server"),
)
CLASS = f"{__name__}.StageHandler"
LOG_CONFIG = "VLLM_LOGGING_CONFIG_PATH"


class StageHandler(logging.Handler):
    """Made by vLLM's `dictConfig`; `address` is the socket's path."""

    def __init__(self, address: str, *, is_inherited: bool = True) -> None:
        """`is_inherited`: the processes that this one starts log through it too."""
        super().__init__(logging.INFO)
        if not is_inherited:
            os.environ.pop(LOG_CONFIG, None)
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        if stage := stage_of(record.getMessage()):
            with suppress(OSError):  # after the start nobody listens
                self._socket.sendto(stage.encode(), self._address)

    def close(self) -> None:
        self._socket.close()
        super().close()


def stage_of(message: str) -> str:
    """Empty for what begins no stage."""
    return next((stage for words, stage in STAGES if words in message), "")


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, report: Report) -> None:
        self._report, self._last = report, ""

    def datagram_received(self, data: bytes, address: Any) -> None:
        stage = data.decode(errors="replace")
        if stage != self._last:  # every rank says it
            self._last = stage
            self._report(Progress(stage))


@asynccontextmanager
async def told_stages(report: Report, *, is_inherited: bool) -> AsyncIterator[tuple[Path, dict[str, Any]]]:
    """For as long as the block lasts: (a folder for files, the handler as `dictConfig` has it)."""
    with tempfile.TemporaryDirectory(prefix="kaito-vllm-") as folder:
        address = str(Path(folder) / "stages")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(address)
        listening.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Listener(report), sock=listening
        )
        try:
            yield Path(folder), {"class": CLASS, "address": address, "is_inherited": is_inherited}
        finally:
            transport.close()
