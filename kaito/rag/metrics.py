"""Metrics under upstream's names. An error counts as a failure, whatever its status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

OPERATIONS = {
    "chat": "rag_chat",
    "index": "rag_index",
    "indexes": "rag_indexes",
    "documents": "rag_indexes_document",
    "update": "rag_indexes_update_document",
    "retrieve": "rag_indexes_retrieve",
    "delete": "rag_indexes_delete_document",
    "persist": "rag_persist",
    "load": "rag_load",
    "delete_index": "rag_delete_index",
}
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SCORE_BUCKETS = tuple(round(0.1 * step, 1) for step in range(11))


class Metrics:
    """One registry a service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._latency: dict[str, Histogram] = {}
        self._requests: dict[str, Counter] = {}
        for key, prefix in OPERATIONS.items():
            self._latency[key] = Histogram(
                f"{prefix}_latency_seconds",
                f"Seconds of {key} requests",
                ["status"],
                registry=registry,
                buckets=LATENCY_BUCKETS_S,
            )
            self._requests[key] = Counter(f"{prefix}_requests_total", f"{key} requests", ["status"], registry=registry)
        self._embedding_latency = Histogram(
            "rag_embedding_latency_seconds",
            "Seconds to embed",
            ["status", "mode"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self._embeddings = Counter("rag_embedding_requests_total", "Embeddings", ["status", "mode"], registry=registry)
        self.e2e_requests = Counter("e2e_request_total", "Requests", ["status"], registry=registry)
        self.e2e_latency = Histogram(
            "e2e_request_latency_seconds",
            "Seconds from request to answer",
            ["status"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.opening = Gauge(
            "rag_indexes_opening_seconds",
            "Seconds that reading and opening the indexes took at start",
            registry=registry,
        )
        self.running = Gauge("num_requests_running", "Requests being answered", registry=registry)
        self._store_latency = Histogram(
            "rag_vector_store_operation_latency_seconds",
            "Seconds of an index's operation without embedding",
            ["operation", "status"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.result_count = Histogram(
            "rag_retrieve_result_count",
            "Results of a retrieval",
            registry=registry,
            buckets=(0, 1, 2, 5, 10, 20, 50, 100, 300),
        )
        self.lowest_score = Histogram(
            "rag_lowest_source_score",
            "Lowest cosine similarity of the sources",
            registry=registry,
            buckets=SCORE_BUCKETS,
        )
        self.average_score = Histogram(
            "rag_avg_source_score", "Mean cosine similarity of the sources", registry=registry, buckets=SCORE_BUCKETS
        )
        self.policy_loads = Counter(
            "output_guardrails_policy_load_total", "Guardrails policies read", ["policy_status"], registry=registry
        )
        self.scanner_builds = Counter(
            "output_guardrails_scanner_build_total", "Scanners built", ["type", "status"], registry=registry
        )
        self.scanner_hits = Counter(
            "ragengine_guardrails_response_scanner_hits_total",
            "Answers that a scanner hit",
            ["scanner_type", "action"],
            registry=registry,
        )
        self.final_actions = Counter(
            "ragengine_guardrails_response_actions_total", "What became of answers", ["final_action"], registry=registry
        )
        self.policy_reloads = Counter(
            "guardrails_policy_reload_total", "Reloads of the policy", ["result"], registry=registry
        )
        self.policy_loaded = Gauge(
            "guardrails_policy_loaded_timestamp_seconds", "When the policy in force was read", registry=registry
        )
        self.active_policy = Gauge(
            "guardrails_active_policy_info", "1 for the policy in force", ["policy_hash"], registry=registry
        )

    @contextmanager
    def operation(self, key: str) -> Iterator[None]:
        with _timed(self._latency[key], self._requests[key], {}):
            yield

    @contextmanager
    def embedding(self, mode: str) -> Iterator[None]:
        with _timed(self._embedding_latency, self._embeddings, {"mode": mode}):
            yield

    @contextmanager
    def store(self, operation: str) -> Iterator[None]:
        with _timed(self._store_latency, None, {"operation": operation}):
            yield

    def scores(self, similarities: list[float]) -> None:
        if similarities:
            self.lowest_score.observe(min(similarities))
            self.average_score.observe(sum(similarities) / len(similarities))

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


@contextmanager
def _timed(latency: Histogram, requests: Counter | None, labels: dict[str, str]) -> Iterator[None]:
    start, status = perf_counter(), "failure"
    try:
        yield
        status = "success"
    finally:
        latency.labels(status=status, **labels).observe(perf_counter() - start)
        if requests is not None:
            requests.labels(status=status, **labels).inc()
