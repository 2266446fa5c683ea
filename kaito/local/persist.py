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
from typing import BinaryIO, NamedTuple

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


class StateLog:
    """The files of one directory. One process at a time may write them (see `presence`)."""

    def __init__(self, directory: Path, *, changes_bytes_max: int = CHANGES_BYTES_MAX) -> None:
        self._snapshot = directory / "state.json"
        self._changes = directory / "changes.jsonl"
        self._changes_bytes_max = changes_bytes_max
        self._file: BinaryIO | None = None
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
        """Writes changes to disk; a new snapshot is taken when they have grown too long."""
        lines = []
        for change in changes:
            if change.version > self._state.version:
                self._state.take(change)
                lines.append(msgspec.json.encode(change) + b"\n")
        if not lines:
            return
        if self._file is None:
            self._file = os.fdopen(os.open(self._changes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
            self._heal()
        self._file.write(b"".join(lines))
        self._file.flush()
        if self._file.tell() > self._changes_bytes_max:
            self.compact()

    def _heal(self) -> None:
        """A line that a crash has cut must not swallow the next one."""
        assert self._file is not None
        if self._file.tell() and not self._changes.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")

    def compact(self) -> None:
        """A new snapshot, in place of the old one and all changes."""
        body = Snapshot(FORMAT, self._state.version, sorted(self._state.objects.items(), key=lambda item: item[0]))
        _replace(self._snapshot, msgspec.json.encode(body))
        self.close()
        self._changes.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
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
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        sync(file.fileno())
    temporary.replace(path)
