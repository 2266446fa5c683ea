"""ROSTER: root kind → its planner. To add a root: its kind's row in KINDS, a planner file, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from kaito.api.meta import ObjectRef
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Plan
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

RootPlanner: TypeAlias = Callable[[ClusterView, ObjectRef, datetime, PlanSettings], Plan]

ROSTER: dict[str, RootPlanner] = {
    WORKSPACE.kind: plan_workspace,
}


def plan_root(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the root needs now, whatever its kind."""
    return ROSTER[ref.kind](view, ref, now, settings)
