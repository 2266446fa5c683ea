"""How far vLLM's start is. Its engine runs in processes of its own, and says where it is in their logs alone.

So a plugin of ours (pyproject.toml, `vllm.general_plugins`), which vLLM loads in each of them, adds a log handler that
tells the stages it recognises to a datagram socket of the server's. Nothing heavy may be imported here.
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
ADDRESS = "KAITO_VLLM_STAGES"  # in the environment: the socket's path


def join() -> None:
    """The plugin's entry point. Without a server that listens it does nothing."""
    logger, address = logging.getLogger("vllm"), os.environ.get(ADDRESS)
    if address and not any(isinstance(handler, StageHandler) for handler in logger.handlers):
        logger.addHandler(StageHandler(address))


class StageHandler(logging.Handler):
    def __init__(self, address: str) -> None:
        super().__init__(logging.INFO)
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        if stage := stage_of(record.getMessage()):
            with suppress(OSError):  # after the start, or on another machine: nobody listens
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
async def told_stages(report: Report) -> AsyncIterator[None]:
    """For as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="kaito-vllm-") as folder:
        address = str(Path(folder) / "stages")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(address)
        listening.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Listener(report), sock=listening
        )
        os.environ[ADDRESS] = address
        try:
            yield
        finally:
            del os.environ[ADDRESS]
            transport.close()
