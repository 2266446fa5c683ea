"""`python -m benchmarks.rag`: what the RAG service indexes, answers, ranks and keeps, beside the obvious baseline.

Starts `python -m kaito.rag`, and after it the baseline (`benchmarks/peers/rag_baseline.py`) for the same measures on
the smallest corpus. With `--url` an already running server with this REST API is measured (`--pid` adds its memory;
nothing is killed). Everything runs on loopback with the real MiniLM model. Rates compare with the model alone in this
process, measured before and after. Embedding is what takes the time, some 20 to 60 documents a second on two cores:
`--quick` takes two minutes, `--documents 2000` ten, all of it half an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import rag_measures as measures
from benchmarks.rag_corpus import Corpus, build_corpus, new_documents
from benchmarks.rag_server import Client, Server, cpu_s, rss_mb, wait_until_up

OURS, BASELINE = "kaito.rag", "benchmarks.peers.rag_baseline"
CONCURRENCY = (1, 8, 32)
RAW_DOCUMENTS = 64
WARM_DOCUMENTS = 128  # a model takes its working memory with its first batches
PRECISION_DOCUMENTS = 300
ACKNOWLEDGED = 200


def show(line: str) -> None:
    print(line, flush=True)


async def reading(client: Client, corpus: Corpus, index: str, seconds: float) -> dict[str, Any]:
    """Latency and rate of `/retrieve` idle, beside a steady writer and, at 8 clients, beside one without a pause."""
    questions = [question.text for question in corpus.questions]
    found: dict[str, Any] = {}
    for name, every_s in (("idle", None), ("writing", measures.WRITER_EVERY_S), ("saturated", 0.0)):
        for concurrency in CONCURRENCY if name != "saturated" else (8,):
            if every_s is None:
                took = await measures.load(client, index, questions, concurrency=concurrency, seconds=seconds)
            else:
                seed = 100 + 10 * len(found) + concurrency
                async with measures.writing(client, index, seed=seed, every_s=every_s) as written:
                    took = await measures.load(client, index, questions, concurrency=concurrency, seconds=seconds)
                    took["written_per_s"] = sum(written) / seconds
            found[f"{name}_{concurrency}"] = took
            show(f"  retrieve {name}, {concurrency} clients: " + figures(took))
    return found


async def measure(client: Client, pid: int | None, corpus: Corpus, seconds: float, *, modes: bool) -> dict[str, Any]:
    """Everything that needs no kill, on one corpus."""
    index = f"corpus-{len(corpus.documents)}-{os.getpid()}"
    found = await indexing(client, pid, corpus, index)
    ids = found.pop("ids")
    found["ranking"] = {
        mode: await measures.ranking(client, index, corpus, ids, **({"mode": mode} if modes else {}))
        for mode in (measures.MODES if modes else measures.MODES[:1])
    }
    for mode, ranks in found["ranking"].items():
        show(f"  ranking {mode}: {figures(ranks)}")
    found["retrieve"] = await reading(client, corpus, index, seconds)
    found["p99_writing_to_idle"] = {
        str(clients): found["retrieve"][f"writing_{clients}"]["p99_ms"] / found["retrieve"][f"idle_{clients}"]["p99_ms"]
        for clients in CONCURRENCY
    }
    show(f"  p99 beside a writer to idle: {figures(found['p99_writing_to_idle'])}")
    return found


async def indexing(client: Client, pid: int | None, corpus: Corpus, index: str) -> dict[str, Any]:
    """Rate, CPU and memory of indexing beside the model alone."""
    sample = corpus.documents[:RAW_DOCUMENTS]
    await client.add(f"{index}-warm", new_documents(WARM_DOCUMENTS, seed=5))
    before_mb = rss_mb(pid) if pid else None
    raw_before = await asyncio.to_thread(measures.raw_rate, sample)
    cpu = cpu_s(pid) if pid else 0.0
    ids, rate = await measures.index_rate(client, index, corpus)
    cpu_ms = (cpu_s(pid) - cpu) * 1e3 / len(ids) if pid else None
    raw_after = await asyncio.to_thread(measures.raw_rate, sample)
    raw = {name: (raw_before[name] + raw_after[name]) / 2 for name in raw_before}
    found: dict[str, Any] = {"ids": ids, "documents": len(ids), "index_docs_per_s": rate, "raw_docs_per_s": raw}
    found["index_to_raw"] = rate / max(raw[name] for name in measures.PRECISIONS)
    show(f"  indexing {rate:.1f} docs/s; the model alone {figures(raw)}; ratio {found['index_to_raw']:.2f}")
    if cpu_ms is not None:  # on a busy machine the steadier ratio
        found["index_cpu_ms"] = cpu_ms
        found["index_to_raw_cpu"] = min(raw[f"{name}_cpu_ms"] for name in measures.PRECISIONS) / cpu_ms
        show(f"  CPU {cpu_ms:.1f} ms a document; the model alone to it {found['index_to_raw_cpu']:.2f}")
    if pid and before_mb:
        found["rss_mb_before"], found["rss_mb_after"] = before_mb, rss_mb(pid)
        found["rss_mb_per_10000"] = (found["rss_mb_after"] - before_mb) / len(ids) * 10_000
        show(f"  RSS {before_mb:.0f} MiB before, {found['rss_mb_after']:.0f} after")
    return found


async def killed(server: Server, client: Client, documents: int) -> dict[str, Any]:
    """Kills the server amid writes and starts it again: what it had acknowledged, and how long it took to be back."""
    texts = new_documents(10 * ACKNOWLEDGED, seed=9)
    acknowledged: list[str] = []

    async def write() -> None:
        for text in texts:
            acknowledged.extend(await client.add("killed", [text]))
            if len(acknowledged) == ACKNOWLEDGED:
                server.kill()

    await asyncio.gather(write(), return_exceptions=True)
    empty = Server(OURS, server.storage.with_name("empty"))
    empty.spawn()
    async with (other := Client.connect(empty.url)).session:
        empty_s = await wait_until_up(other, empty)
    empty.kill()
    server.spawn()
    back_s = await wait_until_up(client, server)
    return {
        "acknowledged_after_kill": f"{await client.has('killed', acknowledged)} of {len(acknowledged)}",
        "start_empty_s": empty_s,
        "start_after_kill_s": back_s,
        "opening_after_kill_s": await client.gauge("rag_indexes_opening_seconds"),
        "recovered_documents": documents + len(acknowledged),
    }


async def ours(sizes: list[int], seconds: float, folder: Path) -> dict[str, Any]:
    server = Server(OURS, folder / "ours")
    server.spawn()
    found: dict[str, Any] = {}
    async with (client := Client.connect(server.url)).session:
        try:
            await wait_until_up(client, server)
            for size in sizes:
                show(f"ours, {size} documents:")
                found[str(size)] = await measure(client, server.pid, build_corpus(size), seconds, modes=True)
            found["findable_after_deletes"] = await measures.findable_after_deletes(client, "deletes")
            found["killed"] = await killed(server, client, sum(sizes))
            show(f"  findable after deletes {found['findable_after_deletes']}; {figures(found['killed'])}")
        finally:
            server.kill()
    return found


async def baseline(size: int, seconds: float, folder: Path) -> dict[str, Any]:
    show(f"baseline (LlamaIndex VectorStoreIndex, FAISS, FastAPI, one lock), {size} documents only:")
    server = Server(BASELINE, folder / "baseline")
    server.spawn()
    async with (client := Client.connect(server.url)).session:
        try:
            await wait_until_up(client, server)
            return {str(size): await measure(client, server.pid, build_corpus(size), seconds, modes=False)}
        finally:
            server.kill()


async def running(url: str, pid: int | None, sizes: list[int], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with (client := Client.connect(url)).session:
        for size in sizes:
            show(f"{url}, {size} documents:")
            found[str(size)] = await measure(client, pid, build_corpus(size), seconds, modes=False)
        found["findable_after_deletes"] = await measures.findable_after_deletes(client, f"deletes-{os.getpid()}")
        show(f"  findable after deletes: {found['findable_after_deletes']}")
    return found


def compared(us: dict[str, Any], peer: dict[str, Any], size: str) -> dict[str, float]:
    """Ours against the baseline: above 1 is in our favour."""
    mine, its = us[size], peer[size]
    ratios = {
        "index": mine["index_docs_per_s"] / its["index_docs_per_s"],
        "recall_at_5": mine["ranking"]["hybrid"]["recall_at_5"] / its["ranking"]["hybrid"]["recall_at_5"],
    }
    for level, took in mine["retrieve"].items():
        peers = its["retrieve"][level]
        ratios[f"requests_{level}"] = took["requests_per_s"] / max(peers["requests_per_s"], 1e-9)
        ratios[f"p99_{level}"] = peers["p99_ms"] / took["p99_ms"]
    return ratios


def figures(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.rag", description="Measures the RAG service.")
    parser.add_argument("--url", help="measure the server that runs here")
    parser.add_argument("--pid", type=int, help="its process, to read its memory")
    parser.add_argument("--documents", default="2000,20000", help="sizes of the corpus (default 2000,20000)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load at each concurrency (default 8)")
    parser.add_argument("--no-baseline", action="store_true", help="leave the peer out")
    parser.add_argument("--quick", action="store_true", help="300 documents, 2 s of load at each concurrency")
    given = parser.parse_args()
    if given.quick:
        given.documents, given.seconds = "300", 2.0
    sizes = [int(size) for size in given.documents.split(",")]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rag-benchmark-") as name:
        folder = Path(name)
        if given.url:
            found: dict[str, Any] = {
                "server": asyncio.run(running(given.url.rstrip("/"), given.pid, sizes, given.seconds))
            }
        else:
            found = {"ours": asyncio.run(ours(sizes, given.seconds, folder))}
            if not given.no_baseline:
                found["baseline"] = asyncio.run(baseline(sizes[0], given.seconds, folder))
                found["ratio"] = compared(found["ours"], found["baseline"], str(sizes[0]))
                show("ours to baseline: " + figures(found["ratio"]))
            found["precision"] = measures.precisions(build_corpus(PRECISION_DOCUMENTS))
            for precision, ranks in found["precision"].items():
                show(f"the model alone in {precision}, {PRECISION_DOCUMENTS} documents: {figures(ranks)}")
    found["took_s"] = time.perf_counter() - started
    print(json.dumps(rounded(found)))


if __name__ == "__main__":
    main()
