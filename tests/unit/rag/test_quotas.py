"""Bounds on what is stored and asked: refused with the setting's name, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kaito.rag.changes import QuotaExceeded
from kaito.rag.postings import Float32s
from kaito.rag.server import running
from kaito.rag.settings import Limits
from tests.unit.rag.harness import HashEmbedding, indexes_at, settings_at


@asynccontextmanager
async def served(
    folder: Path, limits: Limits, embedding: HashEmbedding | None = None, **given: Any
) -> AsyncIterator[Any]:
    """A function (method, path, **request) → (status, body, headers)."""
    settings = settings_at(folder, limits=limits, host="127.0.0.1", port=0, **given)
    async with (
        running(settings, embedding or HashEmbedding()) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def call(method: str, path: str, **request: Any) -> tuple[int, Any, Any]:
            async with session.request(method, path, **request) as response:
                return response.status, await response.json(), response.headers

        yield call


def body(name: str, *texts: str) -> dict[str, Any]:
    return {"index_name": name, "documents": [{"text": text} for text in texts]}


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (Limits(documents_max=2), "RAG_INDEX_DOCUMENTS_MAX"),
        (Limits(index_bytes_max=20), "RAG_INDEX_BYTES_MAX"),
    ],
)
async def test_a_batch_over_a_quota_is_refused_whole_and_leaves_no_index(
    tmp_path: Path, limits: Limits, setting: str
) -> None:
    async with served(tmp_path, limits) as call:
        status, answer, _ = await call("POST", "/index", json=body("k", "one text", "two texts", "three texts"))
        assert (status, setting in answer["detail"]) == (507, True), answer
        assert (await call("GET", "/indexes"))[1] == []
        assert (await call("POST", "/index", json=body("k", "one text")))[0] == 200
        status, answer, _ = await call("POST", "/index", json=body("k", "two texts", "three texts", "four texts"))
        assert status == 507
        listed = (await call("GET", "/indexes/k/documents"))[1]
        assert [one["text"] for one in listed["documents"]] == ["one text"]
        assert (await call("POST", "/indexes/k/documents/delete", json={"doc_ids": ["absent"]}))[0] == 200
    async with indexes_at(tmp_path) as indexes:
        assert indexes.names() == ["k"]


async def test_one_index_too_many_is_refused_and_a_deletion_makes_room(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(indexes_max=1)) as call:
        assert (await call("POST", "/index", json=body("first", "text")))[0] == 200
        status, answer, _ = await call("POST", "/index", json=body("second", "text"))
        assert (status, "RAG_INDEXES_MAX" in answer["detail"]) == (507, True)
        assert (await call("DELETE", "/indexes/first"))[0] == 200
        assert (await call("POST", "/index", json=body("second", "text")))[0] == 200
        assert (await call("POST", "/persist/second"))[0] == 200
        assert (await call("POST", "/load/third", params={"path": "second"}))[0] == 507


async def test_documents_over_the_quota_may_shrink_but_not_grow(tmp_path: Path) -> None:
    async with indexes_at(tmp_path) as indexes:
        stored = await indexes.insert("k", [(f"text {number}", {}) for number in range(4)])
    async with indexes_at(tmp_path, limits=Limits(documents_max=2)) as indexes:
        index = indexes.get("k")
        with pytest.raises(QuotaExceeded):
            await indexes.insert("k", [("another", {})])
        assert (await index.delete([stored[0].doc_id]))[0] == [stored[0].doc_id]
        with pytest.raises(QuotaExceeded):
            await indexes.insert("k", [("another", {})])


async def test_a_body_over_the_bound_is_a_413_that_names_it(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(body_bytes_max=2048)) as call:
        status, answer, _ = await call("POST", "/index", json=body("k", "x" * 4096))
        assert (status, "2048" in answer["detail"]) == (413, True), answer
        assert (await call("GET", "/indexes"))[1] == []


class HeldEmbedding(HashEmbedding):
    """Embeds documents when `may_go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.may_go = asyncio.Event(), asyncio.Event()

    async def documents(self, texts: Sequence[str]) -> Float32s:
        self.came.set()
        await self.may_go.wait()
        return await super().documents(texts)


async def test_one_request_too_many_at_once_is_a_429_and_probes_still_answer(tmp_path: Path) -> None:
    embedding = HeldEmbedding()
    async with served(tmp_path, Limits(requests_max=1), embedding) as call:
        first = asyncio.create_task(call("POST", "/index", json=body("k", "text")))
        await embedding.came.wait()
        status, answer, headers = await call("GET", "/indexes")
        assert (status, "RAG_CONCURRENT_REQUESTS_MAX" in answer["detail"], headers["Retry-After"]) == (429, True, "1")
        assert (await call("GET", "/ready"))[0] == 200
        embedding.may_go.set()
        assert (await first)[0] == 200
        assert (await call("GET", "/indexes"))[1] == ["k"]


async def test_a_late_answer_is_a_504_and_leaves_no_index(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(request_timeout_s=0.2), HeldEmbedding()) as call:
        status, answer, _ = await call("POST", "/index", json=body("k", "text"))
        assert (status, "RAG_REQUEST_TIMEOUT_S" in answer["detail"]) == (504, True)
        assert (await call("GET", "/indexes"))[1] == []


async def test_api_keys_are_asked_for_everywhere_but_at_the_probes(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(), api_keys=("right", "other")) as call:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
            for method, path in (("GET", "/indexes"), ("POST", "/retrieve"), ("POST", "/v1/chat/completions")):
                status, answer, _ = await call(method, path, headers=headers)
                assert (status, bool(answer["detail"])) == (401, True)
        for key in ("right", "other"):
            assert (await call("GET", "/indexes", headers={"Authorization": f"Bearer {key}"}))[0] == 200
        assert (await call("GET", "/health"))[0] == 200
        described = (await call("GET", "/openapi.json"))[1]
        assert described["security"] == [{"key": []}]


@pytest.mark.parametrize("others", [0, 20])
async def test_a_refused_first_batch_takes_no_other_requests_documents_along(tmp_path: Path, others: int) -> None:
    """The failing request makes the index; the others' documents wait or are being written as it is dropped."""
    limits = Limits(documents_max=others + 1)
    async with indexes_at(tmp_path, limits=limits) as indexes:
        refused = indexes.insert("k", [(f"refused {number}", {}) for number in range(others + 2)])
        taken = [indexes.insert("k", [(f"text {number}", {})]) for number in range(others)]
        first, *rest = await asyncio.gather(refused, *taken, return_exceptions=True)
        assert isinstance(first, QuotaExceeded)
        assert [len(one) for one in rest if not isinstance(one, BaseException)] == [1] * others
        assert indexes.names() == (["k"] if others else [])
    async with indexes_at(tmp_path) as indexes:
        held = {one.text for name in indexes.names() for one in indexes.get(name).reading.generation.documents()}
        assert held == {f"text {number}" for number in range(others)}
