"""ROSTER: root kind → its planner. To add a root: its kind's row in KINDS, a planner file, and its lines here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import ObjectRef
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Plan
from kaito.plan.inferenceset import judge_inference_set, plan_inference_set
from kaito.plan.ragengine import judge_ragengine, plan_ragengine
from kaito.plan.verdict import Verdict
from kaito.plan.workspace import judge_workspace, plan_workspace
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView

RootPlanner: TypeAlias = Callable[[ClusterView, ObjectRef, datetime, PlanSettings], Plan]
RootJudge: TypeAlias = Callable[[ClusterView, ObjectRef, datetime, PlanSettings], tuple[Verdict, ...]]

ROSTER: dict[str, RootPlanner] = {
    WORKSPACE.kind: plan_workspace,
    INFERENCE_SET.kind: plan_inference_set,
    RAGENGINE.kind: plan_ragengine,
}


def plan_root(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
    """What the root needs now, whatever its kind."""
    return ROSTER[ref.kind](view, ref, now, settings)


JUDGES: dict[str, RootJudge] = {
    WORKSPACE.kind: judge_workspace,
    INFERENCE_SET.kind: judge_inference_set,
    RAGENGINE.kind: judge_ragengine,
}


def judge_root(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> tuple[Verdict, ...]:
    """What the gates say of the root, also before an operator has taken it up."""
    return JUDGES[ref.kind](view, ref, now, settings)
