"""An index's folder: `log-N` holds the changes since `snapshot-N`; the last two snapshots and their logs are kept.

A change is acknowledged once its record is in the log and fsync has returned. A snapshot begins with a new log, so that
the writer goes on while the snapshot is written; it counts once it has been renamed into place. Whatever is damaged is
set aside, never deleted.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from kaito.logs import Event
from kaito.rag.persist.disk import Disk, write_whole
from kaito.rag.persist.records import Change, Columns, Content, Damage, End, Header, Record, encode, scan

SNAPSHOT, LOG = re.compile(r"snapshot-(\d{8})"), re.compile(r"log-(\d{8})")


class IndexDamaged(ValueError):
    """Nothing in the folder can be read; the message says what is there."""


class ReadOnly(OSError):
    """An earlier write failed in a way that leaves the state of the disk unknown; a restart recovers."""


@dataclass(slots=True)
class IndexFolder:
    """Blocking; used by one thread at a time. `log_bytes`, `snapshot_bytes`: sizes on disk."""

    path: Path
    disk: Disk
    header: Header
    number: int = 0
    log_bytes: int = 0
    snapshot_bytes: int = 0
    _handle: int = -1
    _fault: str = field(default="")

    @classmethod
    def create(cls, path: Path, header: Header, disk: Disk) -> IndexFolder:
        """A folder that is there with a valid log or not at all."""
        temporary = path.with_name(path.name + ".tmp")
        disk.make_folder(temporary)
        write_whole(disk, temporary / "log-00000000", [encode(header)])
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
        folder = cls(path, disk, header)
        folder._open_log(0)
        return folder

    @classmethod
    def create_from(cls, path: Path, header: Header, contents: Iterable[Content], end: End, disk: Disk) -> IndexFolder:
        """A folder that begins with a snapshot."""
        temporary = path.with_name(path.name + ".tmp")
        disk.make_folder(temporary)
        size = write_whole(disk, temporary / "snapshot-00000001", snapshot_pieces(header, contents, end))
        write_whole(disk, temporary / "log-00000001", [encode(header)])
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
        folder = cls(path, disk, header, snapshot_bytes=size)
        folder._open_log(1)
        return folder

    @classmethod
    def recover(cls, path: Path, disk: Disk) -> tuple[IndexFolder, list[Content], int]:
        """(the folder, ready to append; all contents; the next free number or 0). Raises IndexDamaged."""
        logs, snapshots = _numbered(path, LOG), _numbered(path, SNAPSHOT)
        contents: list[Content] = []
        header: Header | None = None
        base, next_number = 0, 0
        for number in sorted(snapshots, reverse=True):
            if (whole := read_snapshot(snapshots[number])) is not None:
                header, contents, end = whole
                base, next_number = number, end.next_number
                break
            _warn(snapshots[number], "this snapshot is damaged; an older one and its logs are read instead")
        else:
            if snapshots and 0 not in logs:
                raise IndexDamaged(f"{path}: no snapshot can be read ({', '.join(sorted(map(str, snapshots)))})")
        for number in sorted(one for one in logs if one >= base):
            for record in _read_log(logs[number], disk):
                header = header or (record if isinstance(record, Header) else None)
                if isinstance(record, Change):
                    contents.append(record)
        if header is None:
            raise IndexDamaged(f"{path}: no header can be read")
        folder = cls(path, disk, header, snapshot_bytes=snapshots[base].stat().st_size if base else 0)
        folder._open_log(max([base, *logs]))
        return folder, contents, next_number

    def append(self, change: Change) -> None:
        """On disk when this returns. Raises StorageFull or OSError, and then nothing of it is there; ReadOnly."""
        if self._fault:
            raise ReadOnly(f"index {self.header.name!r} takes no writes until a restart: {self._fault}")
        data = encode(change)
        try:
            self.disk.write(self._handle, data)
        except OSError as error:
            self._undo(error)
            raise
        try:
            self.disk.sync(self._handle)
        except OSError as error:
            self._undo(error)
            # After a failed fsync the kernel may have dropped the pages and report success next time.
            self._fault = f"fsync failed: {error}"
            raise
        self.log_bytes += len(data)

    def _undo(self, error: OSError) -> None:
        try:
            self.disk.truncate(self._handle, self.log_bytes)
            self.disk.sync(self._handle)
        except OSError as again:
            self._fault = f"a write failed ({error}) and could not be undone ({again})"

    def rotate(self) -> int:
        """Begins the log of the next snapshot; returns its number. What follows goes there."""
        number = self.number + 1
        path = self.path / f"log-{number:08}"
        self.disk.remove(path)
        write_whole(self.disk, path, [encode(self.header)])
        self.disk.close(self._handle)
        self._open_log(number)
        return number

    def write_snapshot(self, number: int, contents: Iterable[Content], end: End) -> None:
        """`contents`: all there was when `rotate` gave `number`. May run while others append."""
        target = self.path / f"snapshot-{number:08}"
        self.snapshot_bytes = write_whole(self.disk, target, snapshot_pieces(self.header, contents, end))
        kept = sorted(_numbered(self.path, SNAPSHOT))[-2:]
        oldest = kept[0] if len(kept) == 2 else 0
        for pattern in (SNAPSHOT, LOG):
            for old, path in _numbered(self.path, pattern).items():
                if old < oldest:
                    self.disk.remove(path)

    def close(self) -> None:
        if self._handle >= 0:
            self.disk.close(self._handle)
            self._handle = -1

    def _open_log(self, number: int) -> None:
        path = self.path / f"log-{number:08}"
        if not path.exists():  # the crash came between a snapshot's rename and …: never, but a hand may have deleted it
            write_whole(self.disk, path, [encode(self.header)])
        self.number = number
        self._handle = self.disk.open(path)
        self.log_bytes = path.stat().st_size
        if not self.log_bytes:
            data = encode(self.header)
            self.disk.write(self._handle, data)
            self.disk.sync(self._handle)
            self.log_bytes = len(data)


def snapshot_pieces(header: Header, contents: Iterable[Content], end: End) -> Iterator[bytes]:
    yield encode(header)
    for one in contents:
        yield encode(one)
    yield encode(end)


def read_snapshot(path: Path) -> tuple[Header, list[Content], End] | None:
    """None where any of it is damaged or missing."""
    records: list[Record] = []
    for record in _scan_file(path):
        if isinstance(record, Damage):
            return None
        records.append(record)
    if len(records) < 2:
        return None
    header, *rest, end = records
    if not isinstance(header, Header) or not isinstance(end, End):
        return None
    contents = [one for one in rest if isinstance(one, Change | Columns)]
    if sum(len(one.documents) for one in contents if isinstance(one, Change)) != end.documents:
        return None
    return header, contents, end


def _scan_file(path: Path) -> Iterator[Record | Damage]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = scan(data)
        try:
            yield from view
        finally:
            view.close()  # type: ignore[attr-defined]  # releases the view of the mapping


def _read_log(path: Path, disk: Disk) -> list[Record]:
    records: list[Record] = []
    tail: Damage | None = None
    for record in _scan_file(path):
        if not isinstance(record, Damage):
            records.append(record)
        elif record.is_tail:
            tail = record
        else:
            _warn(path, f"bytes {record.start} to {record.end} are damaged; what follows them is kept")
    if tail is not None:
        _warn(path, f"bytes {tail.start} to {tail.end} at the end are no whole record: cut off and set aside")
        _set_aside(path, tail, disk)
    return records


def _set_aside(path: Path, tail: Damage, disk: Disk) -> None:
    with path.open("rb") as file:
        file.seek(tail.start)
        rest = file.read()
    path.with_name(f"{path.name}.damaged-{tail.start}").write_bytes(rest)
    handle = disk.open(path)
    try:
        disk.truncate(handle, tail.start)
        disk.sync(handle)
    finally:
        disk.close(handle)


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    return {int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))}


def _warn(path: Path, what: str) -> None:
    structlog.get_logger().warning(Event.STORAGE_DAMAGED, path=str(path), reason=what)
