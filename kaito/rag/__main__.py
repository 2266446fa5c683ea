"""`python -m kaito.rag`: settings from the environment, serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from dataclasses import replace

import structlog

from kaito.logs import Event, set_up_logs
from kaito.rag.embed import EmbeddingFailed
from kaito.rag.settings import RagSettings, SettingsInvalid, read_settings
from kaito.rag.tokens import TokenizerMissing
from kaito.web.auth import KeysUnreadable

SWITCH_INTERVAL_S = 0.0005


def parse(argv: list[str]) -> RagSettings:
    """Flags over the environment. Raises SettingsInvalid."""
    parser = argparse.ArgumentParser(
        "python -m kaito.rag", description="The RAG service. Settings are environment variables: docs/rag/settings.md."
    )
    parser.add_argument("--host", help="address to listen on (RAG_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any (RAG_PORT)")
    flags = parser.parse_args(argv)
    given = {key: value for key, value in vars(flags).items() if value is not None}
    # Where this process listens is decided by whoever started it on a machine that it shares: over all else.
    if host := os.environ.get("KAITO_BIND_ADDRESS"):
        given["host"] = host
    if port := os.environ.get("KAITO_BIND_PORT"):
        given["port"] = int(port)
    return replace(read_settings(os.environ), **given)


async def serve(settings: RagSettings) -> None:
    from kaito.rag.server import running  # llama_index and faiss: after the settings are known to be good

    # A forward pass takes the interpreter's lock a hundred times; at the default of 5 ms each could wait that long.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    log = structlog.get_logger()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running(settings) as port:
        log.info(Event.SERVER_LISTENING, host=settings.host, port=port)
        await stopped.wait()
        log.info(Event.SERVER_DRAINING)
    log.info(Event.SERVER_STOPPED)


def main() -> int:
    try:
        settings = parse(sys.argv[1:])
        set_up_logs(settings.log_format, settings.log_level)
    except (SettingsInvalid, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (before there is a log)
        return 2
    run = asyncio.run
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        pass
    try:
        run(serve(settings))
    except (EmbeddingFailed, SettingsInvalid, TokenizerMissing, KeysUnreadable, OSError) as error:
        structlog.get_logger().error(Event.SERVER_FAILED, reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
