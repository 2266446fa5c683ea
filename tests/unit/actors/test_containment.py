"""A planner that raises stops the root that it raised over, and no other."""

from __future__ import annotations

from datetime import datetime

from kaito.actors.containment import RECHECK_S, contained
from kaito.actors.roster import plan_root
from kaito.api.meta import ObjectRef
from kaito.plan.actions import Emit, Plan
from kaito.settings import PlanSettings
from kaito.state.view import ClusterView
from tests.builders import World, moment, ref_of, workspace

SETTINGS = PlanSettings()
BAD, GOOD = workspace("bad"), workspace("good")


def test_a_root_over_which_the_planner_raises_is_told_of_and_the_others_are_planned() -> None:
    told: list[tuple[ObjectRef, str]] = []

    def planner(view: ClusterView, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Plan:
        if ref.name == "bad":
            raise AttributeError("'str' object has no attribute 'get'")
        return plan_root(view, ref, now, settings)

    world, plan = World(BAD, GOOD), contained(planner, lambda ref, error: told.append((ref, str(error))))
    found = plan(world, ref_of(BAD), moment(), SETTINGS)
    (event,) = found.actions
    assert isinstance(event, Emit)
    assert (event.about, event.about_uid, event.type, event.reason) == (
        ref_of(BAD), "uid-default-bad", "Warning", "PlannerFailed",
    )  # fmt: skip
    assert "AttributeError: 'str' object has no attribute 'get'" in event.message
    assert (found.root, found.recheck_s) == (ref_of(BAD), RECHECK_S)
    assert told == [(ref_of(BAD), "'str' object has no attribute 'get'")]
    assert plan(world, ref_of(GOOD), moment(), SETTINGS) == plan_root(world, ref_of(GOOD), moment(), SETTINGS)
