"""Where the operator's journal is written: one file in a folder, replaced as a whole, readable by its owner alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import structlog

from kaito.logs import Event

FILE_NAME = "kaito-journal.jsonl"  # one name: whoever crashes in a loop fills no disk


def write_journal(folder: Path, lines: Iterable[bytes]) -> Path | None:
    """The path; None, with a line in the log, where it cannot be written (a read-only container)."""
    log = structlog.get_logger()
    path, beside = folder / FILE_NAME, folder / f".{FILE_NAME}.{os.getpid()}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(lines)
        beside.replace(path)
    except OSError as error:
        log.warning(Event.JOURNAL_FAILED, path=str(path), error=str(error))
        return None
    log.info(Event.JOURNAL_WRITTEN, path=str(path), read_it=f"kaito replay {path}")
    return path


async def write_on_signal(folder: Path, dump: Callable[[], Iterable[bytes]]) -> None:
    """Writes the journal at each SIGUSR1, for ever."""
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        async for _ in signals:
            write_journal(folder, dump())
