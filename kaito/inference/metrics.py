"""The metrics of an engine that only makes tokens, under vLLM's names and in vLLM's units."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kaito.inference.generation import Delta

# Seconds; vLLM's buckets, so that dashboards made for it fit.
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0),
    *(30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
LENGTH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


class TokenMetrics:
    """Observed on the event loop."""

    def __init__(self, model: str, count: Callable[[], tuple[int, int]]) -> None:
        """`count`: (running, waiting) sequences, asked when the metrics are read."""
        self.registry = CollectorRegistry()
        self._labels = (model, "0")
        running = self._gauge("vllm:num_requests_running", "Sequences in the batch")
        waiting = self._gauge("vllm:num_requests_waiting", "Sequences that wait for the batch")
        running.set_function(lambda: count()[0])
        waiting.set_function(lambda: count()[1])
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens that were read")
        self.generation_tokens = self._counter("vllm:generation_tokens", "Tokens that were generated")
        self._success = Counter(
            "vllm:request_success",
            "Sequences that ended, by reason",
            ["model_name", "engine", "finished_reason"],
            registry=self.registry,
        )
        self._first = self._histogram("vllm:time_to_first_token_seconds", "To the first token", FIRST_TOKEN_BUCKETS)
        self._next = self._histogram("vllm:inter_token_latency_seconds", "From token to token", TOKEN_BUCKETS)
        self._whole = self._histogram("vllm:e2e_request_latency_seconds", "To the last token", REQUEST_BUCKETS)
        self._prompt_length = self._histogram("vllm:request_prompt_tokens", "Tokens of a prompt", LENGTH_BUCKETS)
        self._output_length = self._histogram("vllm:request_generation_tokens", "Tokens of an answer", LENGTH_BUCKETS)

    def started(self, prompt_tokens: int) -> Observed:
        return Observed(self, prompt_tokens, monotonic())

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model_name", "engine"], registry=self.registry).labels(*self._labels)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model_name", "engine"], registry=self.registry).labels(*self._labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        found = Histogram(name, text, ["model_name", "engine"], buckets=buckets, registry=self.registry)
        return found.labels(*self._labels)


class Observed:
    """One sequence's times."""

    __slots__ = ("_begun", "_last", "_metrics", "_prompt_tokens", "_tokens")

    def __init__(self, metrics: TokenMetrics, prompt_tokens: int, now: float) -> None:
        self._metrics, self._prompt_tokens = metrics, prompt_tokens
        self._begun = now
        self._last = 0.0
        self._tokens = 0

    def take(self, delta: Delta, now: float) -> None:
        metrics, count = self._metrics, len(delta.tokens)
        if self._tokens == 0:
            metrics.prompt_tokens.inc(self._prompt_tokens)
            metrics._prompt_length.observe(self._prompt_tokens)
            metrics._first.observe(now - self._begun)
        else:
            metrics._next.observe((now - self._last) / max(count, 1))
        self._last = now
        self._tokens += count
        metrics.generation_tokens.inc(count)
        if delta.finish is not None:
            metrics._whole.observe(now - self._begun)
            metrics._output_length.observe(self._tokens)
            metrics._success.labels(*metrics._labels, delta.finish).inc()
