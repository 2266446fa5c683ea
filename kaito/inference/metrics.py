"""The metrics of an engine that only makes tokens, under vLLM's names and in vLLM's units."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from time import monotonic

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kaito.inference.generation import Delta, GpuMemory
from kaito.web.tally import Spread, Tallies, Tally

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

    def __init__(
        self, model: str, count: Callable[[], tuple[int, int]], gpu_memory: Callable[[], list[GpuMemory]]
    ) -> None:
        """Both are asked when the metrics are read. `count`: (running, waiting) sequences."""
        self.registry = CollectorRegistry()
        labels = {"model_name": model, "engine": "0"}
        for place, name, text in (
            (0, "vllm:num_requests_running", "Sequences in the batch"),
            (1, "vllm:num_requests_waiting", "Sequences that wait for the batch"),
        ):
            gauge = Gauge(name, text, list(labels), registry=self.registry).labels(*labels.values())
            gauge.set_function(partial(_at, count, place))
        self.prompt_tokens = Tally("vllm:prompt_tokens", "Prompt tokens that were read")
        self.generation_tokens = Tally("vllm:generation_tokens", "Tokens that were generated")
        self.first = Spread("vllm:time_to_first_token_seconds", "To the first token", FIRST_TOKEN_BUCKETS)
        self.next = Spread("vllm:inter_token_latency_seconds", "From token to token", TOKEN_BUCKETS)
        self.whole = Spread("vllm:e2e_request_latency_seconds", "To the last token", REQUEST_BUCKETS)
        self.prompt_length = Spread("vllm:request_prompt_tokens", "Tokens of a prompt", LENGTH_BUCKETS)
        self.output_length = Spread("vllm:request_generation_tokens", "Tokens of an answer", LENGTH_BUCKETS)
        times, lengths = (self.first, self.next, self.whole), (self.prompt_length, self.output_length)
        self.success = Tally("vllm:request_success", "Sequences that ended", "finished_reason", ("stop", "length"))
        members: list[Tally | Spread] = [self.prompt_tokens, self.generation_tokens, self.success, *times, *lengths]
        Tallies(labels, members, self.registry)
        self.registry.register(_Gpus(gpu_memory))

    def started(self, prompt_tokens: int) -> Observed:
        return Observed(self, prompt_tokens, monotonic())

    def pooled(self, inputs_tokens: list[int], took_s: float) -> None:
        """Inputs of one request that became vectors."""
        for tokens in inputs_tokens:
            self.prompt_tokens.value += tokens
            self.prompt_length.observe(tokens)
            self.success.values["stop"] += 1
        self.whole.observe(took_s, len(inputs_tokens))

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


class _Gpus(Collector):
    """No samples on a CPU."""

    def __init__(self, gpu_memory: Callable[[], list[GpuMemory]]) -> None:
        self._gpu_memory = gpu_memory

    def describe(self) -> list[Metric]:
        return []  # a registry asks for the names first, and the device need not be asked for them

    def collect(self) -> list[Metric]:
        used = GaugeMetricFamily("kaito_gpu_memory_used_bytes", "GPU memory taken, by anybody", labels=["device"])
        total = GaugeMetricFamily("kaito_gpu_memory_total_bytes", "GPU memory in all", labels=["device"])
        for found in self._gpu_memory():
            used.add_metric([found.device], found.used_bytes)
            total.add_metric([found.device], found.total_bytes)
        return [used, total]


def _at(count: Callable[[], tuple[int, int]], place: int) -> float:
    return count()[place]


class Observed:
    """One sequence's times."""

    __slots__ = ("_begun", "_gaps", "_last", "_metrics", "_prompt_tokens", "tokens")

    def __init__(self, metrics: TokenMetrics, prompt_tokens: int, now: float) -> None:
        self._metrics, self._prompt_tokens = metrics, prompt_tokens
        self._gaps = metrics.next
        self._begun = now
        self._last = 0.0
        self.tokens = 0  # so far

    def take(self, delta: Delta, now: float) -> None:
        count = len(delta.tokens)
        if not self.tokens:
            self._take_first(now)
        elif count:  # the usual case, once a token: `Spread.observe` in place
            gaps, passed = self._gaps, now - self._last
            gaps.counts[bisect_left(gaps.bounds, passed / count)] += count
            gaps.total += passed
        self._last = now
        self.tokens += count
        self._metrics.generation_tokens.value += count
        if delta.finish is not None:
            metrics = self._metrics
            metrics.whole.observe(now - self._begun)
            metrics.output_length.observe(self.tokens)
            metrics.success.values[delta.finish] += 1

    def _take_first(self, now: float) -> None:
        metrics = self._metrics
        metrics.prompt_tokens.value += self._prompt_tokens
        metrics.prompt_length.observe(self._prompt_tokens)
        metrics.first.observe(now - self._begun)
