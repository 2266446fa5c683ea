"""What a scrape tells: phases, closed gates by reason, the time of each stage; and the board that asks for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from kaito.actors.metrics import OperatorMetrics
from kaito.api.core import PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim
from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.events import Apply
from kaito.state.graph import StateGraph
from tests.builders import at, condition, decode, metadata, ragengine, ref_of, workspace
from tests.sim.life import Life, live

BOARD = Path(__file__).parents[3] / "manifests" / "grafana" / "kaito-operator.json"


def graph_of(*bodies: Json) -> StateGraph:
    graph = StateGraph()
    kinds = {kind.kind: kind for kind in graph.rows}
    for body in bodies:
        graph.apply(kinds[body["kind"]], Apply(ref_of(body), decode(body)))
    return graph


def scraped(graph: StateGraph, *, depth: int = 0, ages_s: dict[str, float] | None = None) -> OperatorMetrics:
    return OperatorMetrics(graph, queue_depth=lambda: depth, watch_ages_s=lambda: ages_s or {})


def lines_of(metrics: OperatorMetrics) -> list[str]:
    return metrics.exposition().decode().splitlines()


def samples(metrics: OperatorMetrics) -> dict[str, float]:
    """The largest value of each name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found[sample.name] = max(found.get(sample.name, 0.0), sample.value)
    return found


def test_a_scrape_tells_gates_and_stages_of_the_roots_that_exist() -> None:
    blocker = {"gate": "NodeReady", "reason": "NodeNotReady"}
    timeline = [{"stage": "NodesPlanned", "at": at(2)}, {"stage": "Broken", "at": "never"}]
    graph = graph_of(
        workspace("a", status={"blockers": [blocker], "timeline": timeline}),
        workspace("b", status={"timeline": [{"stage": "NodesPlanned", "at": at(40)}]}),
        workspace("c", resource={"labelSelector": 5}, status={"blockers": [blocker]}),
        ragengine(status={"blockers": [blocker], "conditions": [condition("RAGEngineSucceeded", "False")]}),
    )
    lines = lines_of(scraped(graph, depth=3))
    assert 'kaito_gate_closed{gate="NodeReady",kind="Workspace",reason="NodeNotReady"} 2.0' in lines
    assert 'kaito_gate_closed{gate="NodeReady",kind="RAGEngine",reason="NodeNotReady"} 1.0' in lines
    assert 'kaito_workspace_stage_seconds_bucket{le="5",stage="NodesPlanned"} 1.0' in lines
    assert 'kaito_workspace_stage_seconds_bucket{le="+Inf",stage="NodesPlanned"} 2.0' in lines
    assert 'kaito_workspace_count{phase="pending"} 3.0' in lines and "kaito_queue_depth 3.0" in lines
    assert (
        'kaito_ragengine_count{phase="error"} 1.0' in lines and 'kaito_inferenceset_count{phase="error"} 0.0' in lines
    )
    assert 'kaito_workspace_preset_count{preset_name="phi-3.5-mini-instruct"} 2.0' in lines
    assert not any("Broken" in line for line in lines)


def test_claims_are_counted_for_their_workspace_and_their_bytes_once_a_volume_is_bound() -> None:
    graph = StateGraph()
    for name, capacity in (("a-0", {"storage": "10Gi"}), ("a-1", {})):
        labels = {"kaito.sh/workspace": "phi"}
        body = {"metadata": metadata(name, "default", labels=labels), "status": {"capacity": capacity}}
        graph.apply(PERSISTENT_VOLUME_CLAIM, Apply(PERSISTENT_VOLUME_CLAIM.ref("default", name), _claim(body)))
    lines = lines_of(scraped(graph))
    of = 'workspace_name="phi",workspace_namespace="default"'
    assert f"kaito_workspace_pvc_count{{{of}}} 2.0" in lines
    (given,) = [line for line in lines if line.startswith("kaito_workspace_pvc_allocated_bytes{")]
    assert given == f'kaito_workspace_pvc_allocated_bytes{{pvc_name="a-0",{of}}} 1.073741824e+10'


def _claim(body: Json) -> PersistentVolumeClaim:
    return msgspec.convert(body, PersistentVolumeClaim)


def test_every_metric_moves_while_a_workspace_becomes_ready() -> None:
    async def scenario(life: Life) -> None:
        life.replicas[0].client.is_partitioned = True  # another operator does the work: this one is measured
        metrics: Any = None

        def wrote(verb: str, outcome: str) -> None:
            metrics.writes.labels(verb, outcome).inc()

        def ended(_item: Any, _plan: Any, outcome: Any, seconds: float) -> None:
            metrics.reconcile_seconds.labels(type(outcome).__name__.lower()).observe(seconds)

        def waited(seconds: float) -> None:
            metrics.queue_seconds.observe(seconds)

        operator = Operator(
            life.client,
            PlanSettings(),
            now=life.now,
            rng=life.rng,
            observe=ended,
            on_write=wrote,
            waited=waited,
        )
        metrics = OperatorMetrics(
            operator.graph,
            queue_depth=lambda: len(operator.runner.queue),
            watch_ages_s=lambda: operator.supervisor.ages_s(anyio.current_time()),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(operator.run)
            await life.apply()
            await anyio.sleep(5)
            early = samples(metrics)
            assert early["kaito_gate_closed"] > 0
            await life.until(lambda: life.state() == "Ready", 900)
            await anyio.sleep(5)
            late = samples(metrics)
            tasks.cancel_scope.cancel()
        assert early["kaito_workspace_count"] == late["kaito_workspace_count"] == 1
        for name in ("kaito_writes_total", "kaito_queue_seconds_count", "kaito_reconcile_seconds_count"):
            assert late[name] > early.get(name, 0), name
        assert late["kaito_watch_age_seconds"] > 0 and late.get("kaito_gate_closed", 0) == 0
        text = metrics.exposition().decode()
        assert 'kaito_workspace_stage_seconds_bucket{le="+Inf",stage="ServerReady"} 1.0' in text
        assert 'kaito_writes_total{outcome="ok",verb="Create"}' in text
        assert all(f'kaito_watch_age_seconds{{kind="{plural}"}}' in text for plural in (WORKSPACE.plural, "nodes"))

    live(scenario)


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    told = set(re.findall(r"# HELP (\w+)", scraped(StateGraph()).exposition().decode()))
    asked = {name for panel in json.loads(BOARD.read_text())["panels"] for name in _names(panel)}
    assert asked and {name.removesuffix("_bucket") for name in asked} <= told


def test_the_dashboard_leaves_no_metric_out() -> None:
    told = set(re.findall(r"# HELP (kaito_\w+)", scraped(StateGraph()).exposition().decode()))
    asked = {name for panel in json.loads(BOARD.read_text())["panels"] for name in _names(panel)}
    shown = {name.removesuffix("_bucket") for name in asked}
    assert {name for name in told if not name.endswith("_created")} - shown <= {"kaito_workspace_pvc_count"}


def _names(panel: Json) -> list[str]:
    return [name for target in panel["targets"] for name in re.findall(r"kaito_\w+", target["expr"])]
