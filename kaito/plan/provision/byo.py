"""Nodes that the user brings: nothing is asked for, nothing is released; Workspaces share them (`shares`)."""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.meta import ObjectRef
from kaito.plan.actions import Action
from kaito.plan.provision.order import MachineOrder
from kaito.plan.provision.shares import rivals_on
from kaito.plan.snapshot import Snapshot
from kaito.plan.stock import Demand, Stock
from kaito.plan.verdict import Verdict
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView


def pins(root: ObjectRef) -> dict[str, str]:
    """None beside the user's own labels."""
    return {}


def take_stock(view: ClusterView, demand: Demand, settings: PlanSettings) -> Stock:
    """The nodes that carry the labels, without those that another Workspace has."""
    nodes = view.nodes(dict(demand.match_labels))
    rivals = rivals_on(view, demand, nodes, settings)
    return Stock(nodes=tuple(node for node in nodes if node.metadata.name not in rivals), rivals=rivals)


def relinquish(s: Snapshot) -> Iterator[Action]:
    return iter(())


def acquire(s: Snapshot, order: MachineOrder) -> Iterator[Action]:
    return iter(())


def judge(s: Snapshot) -> Verdict | None:
    return None
