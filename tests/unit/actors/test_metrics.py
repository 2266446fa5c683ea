"""What a scrape tells: phases, closed gates by reason, and the time that each stage took."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kaito.actors.metrics import OperatorMetrics
from tests.builders import at, decode, workspace


def test_a_scrape_tells_gates_and_stages_of_the_workspaces_that_exist() -> None:
    blocker = {"gate": "NodeReady", "reason": "NodeNotReady"}
    timeline = [{"stage": "NodesPlanned", "at": at(2)}, {"stage": "Broken", "at": "never"}]
    found = [
        decode(workspace("a", status={"blockers": [blocker], "timeline": timeline})),
        decode(workspace("b", status={"timeline": [{"stage": "NodesPlanned", "at": at(40)}]})),
    ]
    metrics = OperatorMetrics(workspaces=lambda: found, queue_depth=lambda: 3, watch_ages_s=lambda: {"pods": 1.5})
    lines = metrics.exposition().decode().splitlines()
    assert 'kaito_gate_closed{gate="NodeReady",reason="NodeNotReady"} 1.0' in lines
    assert 'kaito_workspace_stage_seconds_bucket{le="5",stage="NodesPlanned"} 1.0' in lines
    assert 'kaito_workspace_stage_seconds_bucket{le="+Inf",stage="NodesPlanned"} 2.0' in lines
    assert 'kaito_workspace_count{phase="pending"} 2.0' in lines and "kaito_queue_depth 3.0" in lines
    assert not any("Broken" in line for line in lines)


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    metrics = OperatorMetrics(workspaces=list, queue_depth=lambda: 0, watch_ages_s=dict)
    told = set(re.findall(r"# HELP (\w+)", metrics.exposition().decode()))
    board = json.loads((Path(__file__).parents[3] / "manifests/grafana/kaito-operator.json").read_text())
    asked = {name for panel in board["panels"] for name in re.findall(r"kaito_\w+", panel["targets"][0]["expr"])}
    assert asked and {name.removesuffix("_bucket") for name in asked} <= told
