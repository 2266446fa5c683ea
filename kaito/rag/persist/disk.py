"""The system calls that durability rests on, as one small object, so that tests can die between any two of them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class StorageFull(OSError):
    """No space, or over the disk quota."""


class Disk:
    """Real files. Every method is blocking; raises OSError, StorageFull where there is no room."""

    def open(self, path: Path, *, is_new: bool = False) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_EXCL if is_new else 0)
        with _room():
            return os.open(path, flags, 0o600)

    def write(self, handle: int, data: bytes) -> None:
        """All of it, or an exception; how much came through is then unknown."""
        rest = memoryview(data)
        with _room():
            while rest:
                rest = rest[os.write(handle, rest) :]

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        with _room():
            os.fsync(handle)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def move(self, source: Path, target: Path) -> None:
        """A rename that outlasts a crash."""
        self.rename(source, target)
        self.sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull(error.errno, f"no room left: {error.strerror}") from error
        raise


def write_whole(disk: Disk, path: Path, pieces: Iterable[bytes]) -> int:
    """Writes a file that is there whole or not at all; returns its size in bytes."""
    temporary = path.with_name(path.name + ".tmp")
    disk.remove(temporary)
    handle = disk.open(temporary, is_new=True)
    size = 0
    try:
        for piece in pieces:
            disk.write(handle, piece)
            size += len(piece)
        disk.sync(handle)
    except BaseException:
        disk.close(handle)
        disk.remove(temporary)
        raise
    disk.close(handle)
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)
    return size


class StorageInUse(OSError):
    """Another process has the storage folder."""


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; a process that dies lets go. Blocking. Raises StorageInUse."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageInUse(
                errno.EBUSY,
                f"another process serves the storage folder {folder.parent}: end it, or set another "
                "DEFAULT_VECTOR_DB_PERSIST_DIR",
            ) from None
        yield
