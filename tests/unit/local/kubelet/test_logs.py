"""Log files: times, rotation, tails, and readers that follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from hypothesis import given
from hypothesis import strategies as st

from kaito.local.kubelet.logs import LINE_BYTES_MAX, ContainerLog, LogRequest, read_lines, tail_text

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Ticks:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return START + timedelta(seconds=self.looks - 1)


def log_at(path: Path, **more: int) -> ContainerLog:
    return ContainerLog(path / "0.log", Ticks(), **more)


def test_lines_are_kept_with_their_times_and_read_without(tmp_path: Path):
    log = log_at(tmp_path)
    log.feed(b"one\ntw")
    log.feed(b"o\n")
    path = tmp_path / "0.log"
    assert read_lines(path, LogRequest()) == [b"one\n", b"two\n"]
    assert read_lines(path, LogRequest(has_timestamps=True))[1] == b"2026-01-31T12:00:01.000000Z two\n"
    assert read_lines(path, LogRequest(tail_lines=1)) == [b"two\n"]
    assert read_lines(path, LogRequest(tail_lines=0)) == []
    assert read_lines(path, LogRequest(since=START + timedelta(seconds=1))) == [b"two\n"]


def test_the_last_line_needs_no_end(tmp_path: Path):
    log = log_at(tmp_path)
    log.feed(b"last words")
    log.close()
    assert tail_text(tmp_path / "0.log", lines=5, bytes_max=100) == "last words\n"


def test_a_log_that_is_full_is_rotated_and_both_halves_are_read(tmp_path: Path):
    log = log_at(tmp_path, bytes_max=120)
    for number in range(6):
        log.feed(f"line {number}\n".encode())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["0.log", "0.log.1"]
    lines = read_lines(tmp_path / "0.log", LogRequest())
    assert lines[-1] == b"line 5\n" and lines == sorted(lines)


def test_a_line_without_end_is_cut(tmp_path: Path):
    log = log_at(tmp_path)
    log.feed(b"x" * (LINE_BYTES_MAX + 5))
    assert read_lines(tmp_path / "0.log", LogRequest()) == [b"x" * LINE_BYTES_MAX + b"\n"]


async def test_a_follower_sees_every_line_once_across_rotations(tmp_path: Path):
    log = log_at(tmp_path, bytes_max=400)
    seen: list[bytes] = []

    async def follow() -> None:
        async for line in log.stream(LogRequest(is_followed=True)):
            seen.append(line)

    log.feed(b"line 0\n")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for number in range(1, 40):
            await anyio.wait_all_tasks_blocked()
            log.feed(f"line {number}\n".encode())
        await anyio.wait_all_tasks_blocked()
        log.close()
    assert seen == [f"line {number}\n".encode() for number in range(40)]


async def test_a_reader_gets_no_more_bytes_than_it_asked_for(tmp_path: Path):
    log = log_at(tmp_path)
    log.feed(b"12345\n67890\n")
    assert b"".join([line async for line in log.stream(LogRequest(bytes_max=8))]) == b"12345\n67"


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\r", b" ")), max_size=12))
def test_how_output_is_cut_into_chunks_does_not_matter(chunks: list[bytes]):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log = log_at(Path(folder))
        for chunk in chunks:
            log.feed(chunk)
        log.close()
        text = b"".join(read_lines(Path(folder) / "0.log", LogRequest()))
    whole = b"".join(chunks)
    assert text == (whole if whole.endswith(b"\n") or not whole else whole + b"\n")
