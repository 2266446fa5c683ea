"""Counters and histograms for hot paths: an addition to a plain number, and prometheus_client only when they are read.

prometheus_client takes a lock for every observation, once a bucket: several microseconds a token, with a token a chunk.
These are not safe across threads: they belong to the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """A counter. Add to `value`; with a label of its own, to `values[label]`."""

    __slots__ = ("help", "label", "name", "value", "values")

    def __init__(self, name: str, text: str, label: str = "", values: Sequence[str] = ()) -> None:
        self.name, self.help, self.label, self.value = name, text, label, 0.0
        self.values = dict.fromkeys(values, 0.0)

    def family(self, labels: dict[str, str]) -> Metric:
        own = [self.label] if self.label else []
        family = CounterMetricFamily(self.name, self.help, labels=[*labels, *own])
        for name, value in self.values.items() if self.label else (("", self.value),):
            family.add_metric([*labels.values(), *([name] if self.label else [])], value)
        return family


class Spread:
    """A histogram."""

    __slots__ = ("bounds", "counts", "help", "name", "total")

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self.name, self.help, self.bounds = name, text, list(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def family(self, labels: dict[str, str]) -> Metric:
        buckets, count = [], 0
        for bound, found in zip([*self.bounds, float("inf")], self.counts, strict=True):
            count += found
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), count))
        family = HistogramMetricFamily(self.name, self.help, labels=list(labels))
        family.add_metric(list(labels.values()), buckets, self.total)
        return family


class Tallies(Collector):
    """Shows them to a registry, all under the same labels."""

    def __init__(self, labels: dict[str, str], members: Sequence[Tally | Spread], registry: CollectorRegistry) -> None:
        self._labels, self._members = labels, members
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        return [member.family(self._labels) for member in self._members]
