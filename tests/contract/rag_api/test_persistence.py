"""Persist and load over HTTP, confined to the storage directory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.contract.rag_api.fake_llm import FakeLlm
from tests.contract.rag_api.service import Rag, environment, remote_embedding, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = [f"The lighthouse of bay {n} was built of stone." for n in range(6)]


async def test_persist_and_load_name_the_path_and_keep_documents_and_their_order(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    persisted = await rag.call("POST", f"/persist/{index}")
    path = rag.storage / index
    assert (persisted.status, persisted.body) == (200, {"message": f"Successfully persisted index {index} to {path}."})
    await rag.call("DELETE", f"/indexes/{index}")
    custom = rag.storage / "copies" / index
    await rag.ids(index, *TEXTS)
    persisted = await rag.call("POST", f"/persist/{index}", params={"path": str(custom)})
    assert (persisted.status, persisted.body) == (
        200,
        {"message": f"Successfully persisted index {index} to {custom}."},
    )
    assert any(custom.rglob("*"))
    loaded = await rag.call("POST", f"/load/{index}", params={"path": str(custom), "overwrite": "true"})
    assert (loaded.status, loaded.body) == (200, {"message": f"Successfully loaded index {index} from {custom}."})
    assert await rag.texts(index) == TEXTS


async def test_an_index_loaded_under_another_name_goes_its_own_way(rag: Rag, index: str) -> None:
    ids = await rag.ids(index, *TEXTS)
    path = str(rag.storage / "copies" / index)
    await rag.call("POST", f"/persist/{index}", params={"path": path})
    copy = f"{index}-copy"
    assert (await rag.call("POST", f"/load/{copy}", params={"path": path})).status == 200
    await rag.update(copy, {"doc_id": ids[0], "text": "A harbour of wood.", "metadata": {}})
    await rag.delete(copy, ids[1])
    assert await rag.texts(index) == TEXTS
    assert sorted(await rag.texts(copy)) == sorted(["A harbour of wood.", *TEXTS[2:]])
    best = (await rag.retrieve(copy, "harbour of wood", max_node_count=1)).body["results"][0]
    assert best["text"] == "A harbour of wood."


async def test_code_is_still_split_as_code_after_a_load(rag: Rag, index: str) -> None:
    code = {"split_type": "code", "language": "python"}
    body = "\n\n".join(f"def function_{n}(value):\n    return value + {n}" for n in range(120))
    await rag.ids(index, {"text": body, "metadata": code})
    path = str(rag.storage / "copies" / index)
    await rag.call("POST", f"/persist/{index}", params={"path": path})
    await rag.call("POST", f"/load/{index}", params={"path": path, "overwrite": "true"})
    await rag.ids(index, {"text": body.replace("function", "method"), "metadata": code})
    nodes = (await rag.retrieve(index, "method_7", max_node_count=300)).body["results"]
    split = [len([n for n in nodes if word in n["text"]]) for word in ("function_", "method_")]
    assert split[0] == split[1] > 1


async def test_loading_over_a_living_index_needs_overwrite(rag: Rag, index: str) -> None:
    await rag.ids(index, *TEXTS)
    await rag.call("POST", f"/persist/{index}")
    await rag.ids(index, "Added later.")
    assert (await rag.call("POST", f"/load/{index}")).status == 409
    assert len(await rag.texts(index)) == 7


async def test_loading_what_is_not_there_is_a_404_that_names_the_path(rag: Rag, index: str) -> None:
    reply = await rag.call("POST", f"/load/{index}")
    assert (reply.status, reply.detail) == (404, f"Path does not exist: {rag.storage / index}")
    assert await rag.metric("rag_load_requests_total", status="failure") >= 1


@pytest.mark.parametrize("path", ["/tmp/rag-escape", "../rag-escape", "copies/../../rag-escape", "{link}/rag-escape"])
async def test_no_path_leaves_the_storage_directory(rag: Rag, index: str, path: str, tmp_path: Path) -> None:
    await rag.ids(index, *TEXTS)
    link = rag.storage / f"link-{index}"
    link.symlink_to(tmp_path)
    path = path.format(link=link)
    for call in ("persist", "load"):
        reply = await rag.call("POST", f"/{call}/{index}", params={"path": path, "overwrite": "true"})
        assert reply.status in {400, 403, 422}, (call, path)
    outside = [Path("/tmp/rag-escape"), rag.storage.parent / "rag-escape", tmp_path / "rag-escape"]
    assert [p for p in outside if p.exists()] == []
    link.unlink()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../up", "a\x00b", "x" * 300])
async def test_an_index_name_is_never_a_path(rag: Rag, name: str) -> None:
    before = sorted(rag.storage.parent.iterdir())
    reply = await rag.index(name, "text")
    assert reply.status in {200, 422}
    assert sorted(rag.storage.parent.iterdir()) == before
    assert not (rag.storage / "a").exists()


async def test_what_was_acknowledged_is_there_after_kill_9(llm: FakeLlm, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    variables = environment(storage, llm.url, **remote_embedding(llm.url))
    async with running(storage, variables) as first:
        ids = await first.ids("lost", *TEXTS)
        await first.update("lost", {"doc_id": ids[0], "text": "The old ferry.", "metadata": {"kind": "ship"}})
        await first.delete("lost", ids[1])
        os.kill(first.pid, signal.SIGKILL)
    async with running(storage, variables) as second:
        assert sorted(await second.texts("lost")) == sorted(["The old ferry.", *TEXTS[2:]])
        best = (await second.retrieve("lost", "old ferry", metadata_filter={"kind": "ship"})).body["results"]
        assert [node["doc_id"] for node in best] == [ids[0]]
