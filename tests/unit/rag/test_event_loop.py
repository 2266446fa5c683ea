"""Nothing that takes CPU time runs on the event loop: while a large request is worked on, the loop keeps its beat."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from kaito.rag import generation, ingest, retrieve
from kaito.rag.answer import context
from kaito.rag.persist.disk import Disk, write_whole
from kaito.rag.persist.folder import IndexFolder
from kaito.rag.vectors import faiss_store
from tests.unit.rag.harness import indexes_at
from tests.unit.rag.test_chat import Talk

HEAVY: tuple[Callable[..., Any], ...] = (
    ingest.prepare,
    ingest.split,
    generation.build_segment,
    generation.merge_parts,
    retrieve.lexical,
    retrieve.where_of,
    faiss_store.Segment.search,
    faiss_store.merge_segments,
    faiss_store.build_large,
    context.budget_of,
    context.pack,
    IndexFolder.append,
    IndexFolder.recover,
    IndexFolder.rotate,
    IndexFolder.write_snapshot,
)
CODES = {getattr(one, "__func__", one).__code__: one.__qualname__ for one in HEAVY}


@contextmanager
def watching_this_thread() -> Iterator[set[str]]:
    """The heavy functions that were entered on the thread of the event loop."""
    caught: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in CODES:
            caught.add(CODES[frame.f_code])

    assert threading.current_thread() is threading.main_thread()
    sys.setprofile(profile)
    try:
        yield caught
    finally:
        sys.setprofile(None)


async def test_writes_reads_and_snapshots_compute_off_the_loop(tmp_path: Path) -> None:
    with watching_this_thread() as caught:
        async with indexes_at(tmp_path, snapshot_log_bytes=1024) as indexes:
            await indexes.insert(
                "k", [(f"document {number} of parse_header", {"n": number % 3}) for number in range(300)]
            )
            index = indexes.get("k")
            vector = await indexes.embedding.query("parse_header")
            query = retrieve.Query("parse_header", 5, fields={"n": 1})
            assert len(await retrieve.retrieve(index, query, vector, indexes.threads)) == 5
            await index.snapshot()
            await indexes.persist("k", None)
            await indexes.load("copy", "k", overwrite=False)
        async with indexes_at(tmp_path) as indexes:
            assert indexes.get("copy").reading.generation.document_count == 300
    assert caught == set()


async def test_a_grounded_chat_computes_off_the_loop(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.stack:
        await talk.start()
        await talk.index()
        with watching_this_thread() as caught:
            assert (await talk.chat("schedules pods?", index_name="k"))[0] == 200
        assert caught == set()


async def test_nothing_blocks_the_loop_in_a_services_life(tmp_path: Path) -> None:
    """blockbuster raises in whatever sleeps, waits or does file or socket I/O on the thread of the event loop."""
    talk = Talk(tmp_path)
    with blockbuster_ctx("kaito.rag"):
        async with talk.stack:
            await talk.start(snapshot_log_bytes=1024)
            await talk.index()
            body = {
                "index_name": "k",
                "documents": [{"text": f"text {number} of parse_header"} for number in range(50)],
            }
            assert (await talk.post("/index", body))[0] == 200
            asked = {"index_name": "k", "query": "parse_header", "metadata_filter": {}}
            assert (await talk.post("/retrieve", asked))[0] == 200
            assert (await talk.chat("schedules pods?", index_name="k"))[0] == 200
            assert (await talk.events("schedules pods?", index_name="k"))[-1] == "[DONE]"
            assert (await talk.post("/persist/k", None))[0] == 200
            assert (await talk.post("/load/k?overwrite=true", None))[0] == 200
            async with talk.http.delete("/indexes/k") as response:
                assert response.status == 200


async def test_blockbuster_sees_what_blocks(tmp_path: Path) -> None:
    with blockbuster_ctx("kaito.rag"), pytest.raises(BlockingError):
        Disk().sync_folder(tmp_path)
        write_whole(Disk(), tmp_path / "file", [b"data"])


def test_the_watch_sees_what_runs_on_this_thread() -> None:
    with watching_this_thread() as caught:
        ingest.prepare("text", {})
    assert "prepare" in caught


async def test_reading_goes_on_while_a_writer_waits_for_its_turn(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        await indexes.insert("k", [("first", {})])
        index = indexes.get("k")
        before = index.reading
        async with index._turn_lock:  # the writer's turn is taken: nothing can be written
            waiting = asyncio.create_task(indexes.insert("k", [("second", {})]))
            vector = await indexes.embedding.query("first")
            found = await retrieve.retrieve(index, retrieve.Query("first", 5), vector, indexes.threads)
            assert [one.text for one in found] == ["first"]
        await waiting
        assert before.generation.document_count == 1
        assert index.reading.generation.document_count == 2


@pytest.mark.parametrize("count", [1, 40])
async def test_first_writes_of_one_name_at_the_same_time_make_one_index(tmp_path: Path, count: int) -> None:
    async with indexes_at(tmp_path) as indexes:
        await asyncio.gather(*(indexes.insert("k", [(f"text {number}", {})]) for number in range(count)))
        assert (indexes.names(), indexes.get("k").reading.generation.document_count) == (["k"], count)
