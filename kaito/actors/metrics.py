"""The operator's Prometheus metrics, in a registry of their own. Upstream's names where it has them.

What is counted when somebody scrapes is counted over the graph, which every replica holds: to add replicas up would be
to count twice, so dashboards take the maximum.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kaito.api.core import PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ResourceKind
from kaito.api.names import LABEL_WORKSPACE
from kaito.api.quantity import parse_quantity
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE, Workspace
from kaito.clock import parse_rfc3339
from kaito.plan.roots import RootMeta, root_meta
from kaito.state.graph import StateGraph

STAGE_BOUNDS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
QUEUE_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)
PHASES = ("succeeded", "error", "pending", "deleting")
# Root kind → the metric that counts them, and the condition that says whether one has succeeded.
COUNTED: dict[ResourceKind, tuple[str, str]] = {
    WORKSPACE: ("kaito_workspace_count", "WorkspaceSucceeded"),
    INFERENCE_SET: ("kaito_inferenceset_count", "InferenceSetReady"),
    RAGENGINE: ("kaito_ragengine_count", "RAGEngineSucceeded"),
}


class OperatorMetrics:
    """`graph`, `queue_depth` and `watch_ages_s` are asked when somebody scrapes."""

    def __init__(
        self, graph: StateGraph, *, queue_depth: Callable[[], int], watch_ages_s: Callable[[], dict[str, float]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "kaito_reconcile_seconds", "Time to carry out one plan.", ["outcome"], registry=self.registry
        )
        self.queue_seconds = Histogram(
            "kaito_queue_seconds",
            "Time that a root waits for its turn, from when it is due.",
            registry=self.registry,
            buckets=QUEUE_BOUNDS_S,
        )
        self.writes = Counter("kaito_writes", "Writes to the API server.", ["verb", "outcome"], registry=self.registry)
        self.registry.register(_Scraped(graph, queue_depth, watch_ages_s))

    def exposition(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


class _Scraped(Collector):
    def __init__(
        self, graph: StateGraph, queue_depth: Callable[[], int], watch_ages_s: Callable[[], dict[str, float]]
    ) -> None:
        self._graph, self._queue_depth, self._watch_ages_s = graph, queue_depth, watch_ages_s

    def collect(self) -> Iterator[Metric]:
        roots = {kind: [root_meta(root, kind) for root in self._of(kind)] for kind in COUNTED}
        for kind, found in roots.items():
            yield _phases(kind, found)
        yield _presets([root for root in self._of(WORKSPACE) if isinstance(root, Workspace)])
        yield _closed_gates([root for found in roots.values() for root in found])
        yield _stages(roots[WORKSPACE])
        yield from _claims(self._of(PERSISTENT_VOLUME_CLAIM))
        yield GaugeMetricFamily("kaito_queue_depth", "Roots that wait for a turn.", value=self._queue_depth())
        ages = GaugeMetricFamily("kaito_watch_age_seconds", "Since a kind was last heard of.", labels=["kind"])
        for name, age_s in sorted(self._watch_ages_s().items()):
            ages.add_metric([name], age_s)
        yield ages

    def _of(self, kind: ResourceKind) -> list[Any]:
        store = self._graph.stores.get(kind)
        return [item for _, item in store.items()] if store is not None else []


def _phases(kind: ResourceKind, found: list[RootMeta]) -> GaugeMetricFamily:
    name, _ = COUNTED[kind]
    tally = Tally(phase_of(root) for root in found)
    family = GaugeMetricFamily(name, f"{kind.kind}s by phase.", labels=["phase"])
    for phase in PHASES:
        family.add_metric([phase], tally[phase])
    return family


def _presets(found: list[Workspace]) -> GaugeMetricFamily:
    presets = Tally(w.inference.preset.name for w in found if w.inference and w.inference.preset)
    family = GaugeMetricFamily("kaito_workspace_preset_count", "Workspaces by preset.", labels=["preset_name"])
    for preset, number in sorted(presets.items()):
        family.add_metric([preset], number)
    return family


def _closed_gates(found: list[RootMeta]) -> GaugeMetricFamily:
    labels = ["kind", "gate", "reason"]
    family = GaugeMetricFamily("kaito_gate_closed", "Roots that a gate holds up.", labels=labels)
    tally = Tally(
        (root.kind.kind, str(blocker.get("gate")), str(blocker.get("reason")))
        for root in found
        for blocker in root.status.get("blockers") or ()
    )
    for values, number in sorted(tally.items()):
        family.add_metric(list(values), number)
    return family


def _stages(found: list[RootMeta]) -> GaugeHistogramMetricFamily:
    """Of the Workspaces that exist: from creation to each stage that they have passed."""
    family = GaugeHistogramMetricFamily(
        "kaito_workspace_stage_seconds", "From a Workspace's creation to a stage.", labels=["stage"]
    )
    passed: dict[str, list[float]] = {}
    for workspace in found:
        for stage in workspace.status.get("timeline") or ():
            try:
                began, at = parse_rfc3339(workspace.created), parse_rfc3339(stage["at"])
            except (ValueError, KeyError, TypeError):
                continue
            passed.setdefault(str(stage.get("stage")), []).append(max(0.0, (at - began).total_seconds()))
    for stage_name, times_s in sorted(passed.items()):
        buckets = [(str(bound), float(sum(time_s <= bound for time_s in times_s))) for bound in STAGE_BOUNDS_S]
        family.add_metric([stage_name], [*buckets, ("+Inf", float(len(times_s)))], sum(times_s))
    return family


def _claims(found: list[PersistentVolumeClaim]) -> Iterator[GaugeMetricFamily]:
    """PersistentVolumeClaims of Workspaces' pods: how many, and the bytes that each was given."""
    of = ["workspace_name", "workspace_namespace"]
    count = GaugeMetricFamily("kaito_workspace_pvc_count", "PersistentVolumeClaims of a Workspace.", labels=of)
    given = GaugeMetricFamily(
        "kaito_workspace_pvc_allocated_bytes", "Bytes of a PersistentVolumeClaim.", labels=[*of, "pvc_name"]
    )
    owners = [(claim.metadata.label(LABEL_WORKSPACE) or "", claim.metadata.namespace) for claim in found]
    for owner, number in sorted(Tally(owners).items()):
        count.add_metric(list(owner), number)
    for owner, claim in zip(owners, found, strict=True):
        if (size := _bytes(claim.status.capacity.get("storage"))) is not None:
            given.add_metric([*owner, claim.metadata.name], size)
    yield count
    yield given


def _bytes(quantity: str | int | None) -> float | None:
    """None while no volume is bound."""
    try:
        return float(parse_quantity(quantity)) if quantity else None
    except ValueError:
        return None


def phase_of(root: RootMeta) -> str:
    """Upstream's phases: by the condition of the deletion, then by that of success."""
    conditions: list[Json] = root.status.get("conditions") or []
    status = {item.get("type"): item.get("status") for item in conditions}
    if root.deleting_since or status.get(f"{root.kind.kind}Deleting") == "True":
        return "deleting"
    return {"True": "succeeded", "False": "error"}.get(str(status.get(COUNTED[root.kind][1])), "pending")
