"""python -m kaito.tuning.fetch: brings data from URLs into a folder. For images see `kaito.oci`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from urllib.request import getproxies_environment

import structlog

from kaito.backoff import Backoff
from kaito.logs import Event, set_up_logs
from kaito.oci.errors import ImageError
from kaito.tuning.download import download_all, parse_source
from kaito.tuning.errors import TuningError
from kaito.tuning.routes import Limits

GIB = 1 << 30
BYTES_MAX = 500 * GIB


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m kaito.tuning.fetch", description=__doc__)
    add = found.add_argument
    add("--url", action="append", required=True, help="http or https, with #sha256=HEX to check it; may be repeated")
    add("--to", type=Path, required=True, metavar="FOLDER")
    add("--bytes-max", type=int, default=BYTES_MAX, metavar="N", help=f"of all files (default {BYTES_MAX})")
    add("--termination-log", type=Path, metavar="FILE", help="where the reason of a failure goes as well")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs to the end; returns the exit status (see `kaito.tuning.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs()
    try:
        files = _fetch(args)
    except TuningError as error:
        return report(error, args.termination_log)
    size = sum(path.stat().st_size for path in files)
    structlog.get_logger("kaito.tuning").info(Event.DATA_FETCHED, files=len(files), size_bytes=size, to=str(args.to))
    return 0


def report(error: TuningError | ImageError, termination_log: Path | None) -> int:
    """Says why it ended: in the log and as the container's last words."""
    words = str(error)
    if termination_log is not None:
        termination_log.write_text(words[:4000], encoding="utf-8")
    print(f"kaito.tuning: {words}", file=sys.stderr)  # noqa: T201 (the last line of the log, for people)
    return error.exit_status


def _fetch(args: argparse.Namespace) -> list[Path]:
    args.to.mkdir(parents=True, exist_ok=True)
    sources = [parse_source(url) for url in args.url]
    backoff = Backoff(2.0, 30.0, Random())
    limits = Limits(args.bytes_max, proxies=getproxies_environment())
    return asyncio.run(download_all(sources, args.to, limits, backoff))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
