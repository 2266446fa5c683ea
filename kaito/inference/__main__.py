"""`python -m kaito.inference`: serves one model until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys

import structlog

from kaito.inference.arguments import ArgumentError, parse
from kaito.inference.server import serve
from kaito.inference.settings import ServerSettings
from kaito.logs import Event, set_up_logs
from kaito.web.auth import KeysUnreadable
from kaito.web.tracing import TracingUnavailable


def main(argv: list[str]) -> int:
    if "--help" in argv or "-h" in argv:
        from kaito.inference.reference import help_text

        sys.stdout.write(help_text())
        return 0
    try:
        settings = parse(argv, os.environ)
        set_up_logs(settings.log_format, settings.log_level)
    except (ArgumentError, ValueError) as error:
        sys.stderr.write(f"kaito.inference: {error}\n")
        return 2
    _log(settings)
    try:
        return _run(settings)
    except OSError as error:
        sys.stderr.write(f"kaito.inference: cannot listen on {settings.host}:{settings.port}: {error}\n")
        return 1
    except (KeysUnreadable, TracingUnavailable) as error:
        sys.stderr.write(f"kaito.inference: {error}\n")
        return 1


def _log(settings: ServerSettings) -> None:
    """Every option, its value and where it came from; keys are not shown."""
    log = structlog.get_logger()
    options = {name: "***" if name == "api-key" else value for name, value, _ in settings.sources}
    sources = {name: source for name, _, source in settings.sources if source != "command line"}
    log.info(Event.SERVER_CONFIGURED, options=options, not_from_command_line=sources)
    if settings.unused and settings.engine != "vllm":
        log.info(Event.FLAGS_UNUSED, flags=list(settings.unused), reason="only vLLM knows them")


def _run(settings: ServerSettings) -> int:
    try:
        import uvloop
    except ImportError:  # not on Windows, and not required
        return asyncio.run(serve(settings))
    status: int = uvloop.run(serve(settings))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
