"""Presence: at most one local cluster lives in a directory, and everybody can see whether one does.

A lock that the kernel drops with its process says so, not a number in a file: a stale pid file cannot lie.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = "lock"
PID_FILE = "pid"
POLL_S = 0.05  # a lock of another process has no event


class AlreadyRunning(Exception):
    """Another process lives in the directory."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"a local cluster already runs in {directory} ({who}): use it with --kubeconfig "
            f"{directory / 'kubeconfig'}, stop it with `kaito local down --dir {directory}`, or choose another --dir"
        )
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Presence:
    directory: Path


def make_folder(directory: Path) -> None:
    """Raises OSError that names the folder, what is wrong with it, and the remedy."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        remedy = "run it in a folder that you may write, or name one with --dir"
        raise OSError(f"cannot keep its files in {directory}: {why}; {remedy}") from error


@contextmanager
def live_in(directory: Path) -> Iterator[Presence]:
    """Holds the directory for as long as the block lasts. Raises AlreadyRunning, OSError."""
    make_folder(directory)
    lock = _lock(directory)
    try:
        (directory / PID_FILE).write_text(f"{os.getpid()}\n")
        try:
            yield Presence(directory)
        finally:
            (directory / PID_FILE).unlink(missing_ok=True)
            (directory / LOCK_FILE).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _lock(directory: Path) -> int:
    """The open lock file, locked. One that its former owner removed in the meantime does not count: try again."""
    while True:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), (directory / LOCK_FILE).stat()):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise AlreadyRunning(directory, _pid(directory)) from None
        except FileNotFoundError:
            pass
        os.close(lock)


def is_live(directory: Path) -> bool:
    """Whether a cluster lives there now."""
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def stop(directory: Path, *, timeout_s: float) -> bool:
    """Asks the cluster to end and waits until it has; whether there was one. Raises TimeoutError."""
    if not is_live(directory):
        for name in (PID_FILE, LOCK_FILE):  # left behind by a cluster that was killed
            (directory / name).unlink(missing_ok=True)
        return False
    pid = _pid(directory)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while is_live(directory):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the local cluster in {directory} (process {pid}) has not ended after {timeout_s:g}s")
        time.sleep(POLL_S)
    return True


def _pid(directory: Path) -> int | None:
    try:
        return int((directory / PID_FILE).read_text())
    except (OSError, ValueError):
        return None
