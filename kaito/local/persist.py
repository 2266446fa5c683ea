"""StateLog: what the local cluster remembers between two starts: a snapshot, and the changes since.

The snapshot is replaced atomically; a change is one appended line. A crash may cut the last line: it is dropped. A
crash between a new snapshot and the emptying of the change file leaves changes that the snapshot has: their version
tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from kaito.api.meta import Json

CHANGES_BYTES_MAX = 16 << 20  # then a new snapshot is due
FORMAT = 1


class Key(NamedTuple):
    """Identity of an object across API groups."""

    group: str
    kind: str
    namespace: str
    name: str


class Change(msgspec.Struct, frozen=True):
    """One object's new state at a version; `object` None: it is gone. Versions only grow."""

    version: int
    key: Key
    object: Json | None = None


@dataclass(slots=True)
class State:
    """All objects as of a version."""

    version: int = 0
    objects: dict[Key, Json] = field(default_factory=dict)

    def take(self, change: Change) -> None:
        """Applies a change; one that is not newer has been applied already."""
        if change.version <= self.version:
            return
        self.version = change.version
        if change.object is None:
            self.objects.pop(change.key, None)
        else:
            self.objects[change.key] = change.object


class Snapshot(msgspec.Struct, frozen=True):
    format: int
    version: int
    objects: list[tuple[Key, Json]]


class BrokenState(Exception):
    """What is on disk cannot be read: names the file, what is wrong and the remedy."""


class NotWritten(Exception):
    """A change could not be put on disk, and so has not happened: names the file, why and the remedy."""


class StateLog:
    """The files of one directory. One process at a time may write them (see `presence`)."""

    def __init__(self, directory: Path, *, changes_bytes_max: int = CHANGES_BYTES_MAX) -> None:
        self._snapshot = directory / "state.json"
        self._changes = directory / "changes.jsonl"
        self._changes_bytes_max = changes_bytes_max
        self._file: int | None = None  # descriptor; no buffer of ours may hold what the disk has refused
        self._compact_at = changes_bytes_max
        self._state = State()
        directory.mkdir(parents=True, exist_ok=True)

    def load(self) -> State:
        """The state at the end of the last life; empty at the first. Raises BrokenState."""
        self._state = State()
        if self._snapshot.exists():
            self._state = _read_snapshot(self._snapshot)
        if self._changes.exists():
            for change in _read_changes(self._changes):
                self._state.take(change)
        return State(self._state.version, dict(self._state.objects))

    def append(self, changes: Iterable[Change]) -> None:
        """Writes changes to disk, all or none of them; a new snapshot is taken when they have grown too long.

        Raises NotWritten.
        """
        new = [change for change in changes if change.version > self._state.version]
        if not new:
            return
        try:
            length = self._write(b"".join(msgspec.json.encode(change) + b"\n" for change in new))
        except OSError as error:
            why = f"{self._changes}: {error.strerror}; free space there or make it writable, and try again"
            raise NotWritten(why) from error
        for change in new:
            self._state.take(change)
        if length > self._compact_at:
            try:
                self.compact()
            except OSError:  # nothing is lost: the changes are there, and the next snapshot may succeed
                self._compact_at = 2 * length

    def _write(self, data: bytes) -> int:
        """Appends all of it or, where the disk refuses, none of it. Returns the length of the file."""
        if self._file is None:
            self._file = os.open(self._changes, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        before = os.fstat(self._file).st_size
        if before and os.pread(self._file, 1, before - 1) != b"\n":
            data = b"\n" + data  # a line that a crash has cut must not swallow the next one
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, before)
            raise
        return before + len(data)

    def compact(self) -> None:
        """A new snapshot, in place of the old one and all changes."""
        body = Snapshot(FORMAT, self._state.version, sorted(self._state.objects.items(), key=lambda item: item[0]))
        _replace(self._snapshot, msgspec.json.encode(body))
        self.close()
        self._compact_at = self._changes_bytes_max
        self._changes.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read_snapshot(path: Path) -> State:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (msgspec.DecodeError, OSError) as error:
        raise BrokenState(f"{path}: {error}; restore it from a copy or remove it to start anew") from error
    if found.format != FORMAT:
        raise BrokenState(
            f"{path}: format {found.format}, expected {FORMAT}; it was written by another version of kaito"
        )
    return State(found.version, dict(found.objects))


def _read_changes(path: Path) -> Iterable[Change]:
    """Every change that is whole. Only the last line of a life can be cut, so a broken line is not a broken file."""
    for line in path.read_bytes().split(b"\n"):
        with suppress(msgspec.DecodeError):
            if line:
                yield msgspec.json.decode(line, type=Change)


def _replace(path: Path, data: bytes, *, sync: Callable[[int], None] = os.fsync) -> None:
    """Writes beside and renames over: readers see the old file or the new one."""
    temporary = path.with_name(path.name + ".new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            sync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
