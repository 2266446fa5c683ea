"""What was acknowledged is there after a kill -9 at any point, a torn tail, a damaged file or a full disk.

KAITO_KILL_POINTS=1000 tries as many points; the default keeps `make test` short.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito.rag.generation import Document
from kaito.rag.persist.disk import Disk, StorageFull
from kaito.rag.persist.folder import IndexFolder, ReadOnly
from kaito.rag.persist.records import Change, End, Header
from tests.unit.rag.harness import indexes_at
from tests.unit.rag.killing import DyingDisk

KILL_POINTS = int(os.environ.get("KAITO_KILL_POINTS", "60"))
HEADER = Header(uid="0" * 32, name="k", dimensions=2, model="m")


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing of it either, and fsync takes no time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def _document(number: int) -> Document:
    return Document(
        doc_id=f"d{number}", text=f"text {number}", metadata={}, first_number=number, nodes=(f"text {number}",)
    )


def _put(number: int) -> Change:
    return Change(documents=(_document(number),), vectors=b"\0" * 8)


def _ids(changes: list[Change]) -> list[str]:
    found: dict[str, None] = {}
    for change in changes:
        for one in change.removed:
            found.pop(one, None)
        found.update((document.doc_id, None) for document in change.documents)
    return list(found)


def _child(folder: Path, acknowledged: int, fuse: int, share: float) -> None:
    """Writes, deletes and snapshots until the disk kills it; tells each acknowledgement through the pipe."""
    disk = DyingDisk(fuse, share)
    path = folder / "index"
    if path.exists():
        index, changes, _ = IndexFolder.recover(path, disk)
    else:
        index, changes = IndexFolder.create(path, HEADER, disk), []
    alive = [_document(int(doc_id[1:])) for doc_id in _ids(changes)]
    next_number = int(alive[-1].doc_id[1:]) + 1 if alive else 0
    for step in range(10_000):
        if step % 5 == 4 and alive:
            gone = alive.pop(0)
            os.write(acknowledged, f"?-{gone.doc_id}\n".encode())
            index.append(Change(removed=(gone.doc_id,)))
            os.write(acknowledged, f"-{gone.doc_id}\n".encode())
        else:
            index.append(_put(next_number))
            alive.append(_document(next_number))
            os.write(acknowledged, f"+d{next_number}\n".encode())
            next_number += 1
        if step % 7 == 6:
            number = index.rotate()
            records = [Change(documents=(one,), vectors=b"\0" * 8) for one in alive]
            index.write_snapshot(number, records, End(documents=len(alive), next_number=next_number))


def _run_child(folder: Path, fuse: int, share: float) -> list[str]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            _child(folder, writer, fuse, share)
        finally:
            os._exit(3)  # the disk should have killed it
    os.close(writer)
    with os.fdopen(reader) as lines:
        told = lines.read().split()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, told[-3:]
    return told


def test_killed_at_any_system_call_what_was_acknowledged_is_there(fast: Path) -> None:
    """Each life begins where the last one was killed; a life that ended is compared with what recovery finds."""
    rng = random.Random(1)
    expected: dict[str, None] = {}
    for life in range(KILL_POINTS):
        if life % 20 == 0:
            shutil.rmtree(fast / "index", ignore_errors=True)
            shutil.rmtree(fast / "index.tmp", ignore_errors=True)
            expected = {}
        told = _run_child(fast, rng.randrange(1, 90), rng.random())
        in_doubt: set[str] = set()
        for line in told:
            match line[0]:
                case "+":
                    expected[line[1:]] = None
                case "?":
                    in_doubt.add(line[2:])
                case _:
                    expected.pop(line[1:], None)
                    in_doubt.discard(line[1:])
        if not (fast / "index").exists():
            assert not expected
            continue
        copy = fast / "copy"
        shutil.copytree(fast / "index", copy)
        folder, changes, _ = IndexFolder.recover(copy, Disk())
        folder.close()
        shutil.rmtree(copy)
        found = set(_ids(changes))
        missing = set(expected) - found - in_doubt
        assert not missing, (life, sorted(missing))
        # At most the one change that was being written may be there without having been acknowledged.
        assert len(found - set(expected)) <= 1, (life, sorted(found - set(expected)))
        expected = dict.fromkeys(_ids(changes))


def test_log_cut_at_every_byte_keeps_every_whole_record(fast: Path) -> None:
    folder = IndexFolder.create(fast / "i", HEADER, Disk())
    ends = [folder.log_bytes]
    for number in range(4):
        folder.append(_put(number))
        ends.append(folder.log_bytes)
    folder.close()
    data = (fast / "i" / "log-00000000").read_bytes()
    for size in range(ends[0], len(data) + 1):
        path = fast / f"cut{size}"
        path.mkdir()
        (path / "log-00000000").write_bytes(data[:size])
        again, changes, _ = IndexFolder.recover(path, Disk())
        whole = sum(1 for end in ends[1:] if end <= size)
        assert _ids(changes) == [f"d{number}" for number in range(whole)]
        again.append(_put(9))  # the torn tail is gone: what is written now is read next time
        again.close()
        final, changes, _ = IndexFolder.recover(path, Disk())
        final.close()
        assert _ids(changes)[-1] == "d9"


def test_any_flipped_byte_of_the_log_costs_at_most_its_own_record(fast: Path) -> None:
    folder = IndexFolder.create(fast / "i", HEADER, Disk())
    first = folder.log_bytes
    for number in range(5):
        folder.append(_put(number))
    folder.close()
    data = bytearray((fast / "i" / "log-00000000").read_bytes())
    for at in range(first, len(data), 3):
        path = fast / f"flip{at}"
        path.mkdir()
        broken = bytearray(data)
        broken[at] ^= 0x40
        (path / "log-00000000").write_bytes(broken)
        again, changes, _ = IndexFolder.recover(path, Disk())
        again.close()
        assert len(_ids(changes)) == 4


def test_damaged_snapshot_falls_back_to_the_one_before_and_its_logs(tmp_path: Path) -> None:
    folder = IndexFolder.create(tmp_path / "i", HEADER, Disk())
    documents: list[Document] = []
    for number in range(9):
        folder.append(_put(number))
        documents.append(_document(number))
        if number % 3 == 2:
            records = [Change(documents=(one,), vectors=b"\0" * 8) for one in documents]
            folder.write_snapshot(folder.rotate(), records, End(documents=len(records), next_number=number + 1))
    folder.append(_put(9))
    folder.close()
    newest = tmp_path / "i" / "snapshot-00000003"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    again, changes, _ = IndexFolder.recover(tmp_path / "i", Disk())
    again.close()
    assert _ids(changes) == [f"d{number}" for number in range(10)]


class FullDisk(Disk):
    """Has room for `room` bytes more."""

    def __init__(self) -> None:
        self.room = 1 << 40

    def write(self, handle: int, data: bytes) -> None:
        if len(data) > self.room:
            os.write(handle, data[: self.room])
            raise StorageFull(errno.ENOSPC, "no room left: No space left on device")
        self.room -= len(data)
        super().write(handle, data)


async def test_full_disk_leaves_nothing_half_written_and_reading_goes_on(tmp_path: Path) -> None:
    disk = FullDisk()
    async with indexes_at(tmp_path, disk=disk) as indexes:
        await indexes.insert("k", [("first", {})])
        disk.room = 100
        with pytest.raises(StorageFull):
            await indexes.insert("k", [("second " * 50, {}), ("third", {})])
        with pytest.raises(StorageFull):
            await indexes.insert("new", [("fourth", {})])
        assert [one.text for one in indexes.get("k").reading.generation.documents()] == ["first"]
        disk.room = 1 << 40
        await indexes.insert("k", [("fifth", {})])
    async with indexes_at(tmp_path) as indexes:
        assert [one.text for one in indexes.get("k").reading.generation.documents()] == ["first", "fifth"]


class FailingSync(Disk):
    fails = False

    def sync(self, handle: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(handle)


async def test_failed_fsync_stops_writes_until_a_restart(tmp_path: Path) -> None:
    disk = FailingSync()
    async with indexes_at(tmp_path, disk=disk) as indexes:
        await indexes.insert("k", [("first", {})])
        disk.fails = True
        with pytest.raises(OSError, match="Input/output error"):
            await indexes.insert("k", [("second", {})])
        disk.fails = False
        with pytest.raises(ReadOnly):
            await indexes.insert("k", [("third", {})])
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("k", [("fourth", {})])
        assert [one.text for one in indexes.get("k").reading.generation.documents()] == ["first", "fourth"]


async def test_writes_snapshots_and_reads_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    async with indexes_at(tmp_path, snapshot_log_bytes=1024) as indexes:

        async def write(writer: int) -> None:
            for step in range(20):
                await indexes.insert("k", [(f"writer {writer} step {step}", {"writer": writer})])

        async with asyncio.TaskGroup() as group:
            for writer in range(8):
                group.create_task(write(writer))
        await indexes.get("k").snapshot()
        assert indexes.get("k").reading.generation.document_count == 160
    async with indexes_at(tmp_path) as indexes:
        generation = indexes.get("k").reading.generation
        assert {one.text for one in generation.documents()} == {
            f"writer {w} step {s}" for w in range(8) for s in range(20)
        }
        assert generation.page(0, 1, {"writer": 3})[1] == 20
