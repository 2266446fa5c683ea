"""The operator's Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kaito.api.workspace import Workspace
from kaito.clock import parse_rfc3339

STAGE_BOUNDS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
PHASES = ("succeeded", "error", "pending", "deleting")


class OperatorMetrics:
    """`workspaces`, `queue_depth` and `watch_ages_s` are asked when somebody scrapes."""

    def __init__(
        self,
        *,
        workspaces: Callable[[], list[Workspace]],
        queue_depth: Callable[[], int],
        watch_ages_s: Callable[[], dict[str, float]],
    ) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "kaito_reconcile_seconds", "Time to carry out one plan.", ["outcome"], registry=self.registry
        )
        self.writes = Counter("kaito_writes", "Writes to the API server.", ["verb", "outcome"], registry=self.registry)
        self.registry.register(_Scraped(workspaces, queue_depth, watch_ages_s))

    def exposition(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


class _Scraped(Collector):
    def __init__(
        self,
        workspaces: Callable[[], list[Workspace]],
        queue_depth: Callable[[], int],
        watch_ages_s: Callable[[], dict[str, float]],
    ) -> None:
        self._workspaces, self._queue_depth, self._watch_ages_s = workspaces, queue_depth, watch_ages_s

    def collect(self) -> Iterator[Metric]:
        found = self._workspaces()
        phases = Tally(phase_of(workspace) for workspace in found)
        count = GaugeMetricFamily("kaito_workspace_count", "Workspaces by phase.", labels=["phase"])
        for phase in PHASES:
            count.add_metric([phase], phases[phase])
        yield count
        presets = Tally(w.inference.preset.name for w in found if w.inference and w.inference.preset)
        family = GaugeMetricFamily("kaito_workspace_preset_count", "Workspaces by preset.", labels=["preset_name"])
        for preset, number in sorted(presets.items()):
            family.add_metric([preset], number)
        yield family
        yield _closed_gates(found)
        yield _stages(found)
        yield GaugeMetricFamily("kaito_queue_depth", "Roots that wait for a turn.", value=self._queue_depth())
        ages = GaugeMetricFamily("kaito_watch_age_seconds", "Since a kind was last heard of.", labels=["kind"])
        for kind, age_s in sorted(self._watch_ages_s().items()):
            ages.add_metric([kind], age_s)
        yield ages


def _closed_gates(found: list[Workspace]) -> GaugeMetricFamily:
    family = GaugeMetricFamily("kaito_gate_closed", "Workspaces that a gate holds up.", labels=["gate", "reason"])
    blockers = (blocker for workspace in found for blocker in workspace.status.get("blockers") or ())
    tally = Tally((str(blocker.get("gate")), str(blocker.get("reason"))) for blocker in blockers)
    for (gate, reason), number in sorted(tally.items()):
        family.add_metric([gate, reason], number)
    return family


def _stages(found: list[Workspace]) -> GaugeHistogramMetricFamily:
    """Of the Workspaces that exist: from creation to each stage that they have passed."""
    family = GaugeHistogramMetricFamily(
        "kaito_workspace_stage_seconds", "From a Workspace's creation to a stage.", labels=["stage"]
    )
    passed: dict[str, list[float]] = {}
    for workspace in found:
        for stage in workspace.status.get("timeline") or ():
            try:
                began, at = parse_rfc3339(workspace.metadata.creation_timestamp), parse_rfc3339(stage["at"])
            except (ValueError, KeyError, TypeError):
                continue
            passed.setdefault(str(stage.get("stage")), []).append(max(0.0, (at - began).total_seconds()))
    for stage_name, times_s in sorted(passed.items()):
        buckets = [(str(bound), float(sum(time_s <= bound for time_s in times_s))) for bound in STAGE_BOUNDS_S]
        family.add_metric([stage_name], [*buckets, ("+Inf", float(len(times_s)))], sum(times_s))
    return family


def phase_of(workspace: Workspace) -> str:
    """Upstream's phases: by WorkspaceDeleting, then by WorkspaceSucceeded."""
    status = {item.get("type"): item.get("status") for item in workspace.status.get("conditions") or ()}
    if workspace.metadata.deletion_timestamp or status.get("WorkspaceDeleting") == "True":
        return "deleting"
    return {"True": "succeeded", "False": "error"}.get(str(status.get("WorkspaceSucceeded")), "pending")
