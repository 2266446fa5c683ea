from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kaito.actors.pace import RATE_PER_S, WAIT_MAX_S, WINDOW_S, StatusPace
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Emit, PatchRoot, PatchStatus, Plan

ROOT = WORKSPACE.ref("default", "phi")
GUARD = PatchRoot(WORKSPACE, ROOT, {}, "uid", "1", "a finalizer")
NEWS = PatchStatus(WORKSPACE, ROOT, {"state": "Ready"}, "uid", "1", "it is ready")
PROGRESS = PatchStatus(WORKSPACE, ROOT, {"timeline": []}, "uid", "1", "a stage is over", is_progress=True)
TOLD = Emit(ROOT, "uid", "Normal", "NodeNotReady", "", is_progress=True)


def plan(*actions: Any, name: str = "phi") -> Plan:
    return Plan(WORKSPACE.ref("default", name), actions)


def test_what_users_act_on_is_never_held_back() -> None:
    assert StatusPace().admit(plan(GUARD, NEWS), 0.0) == (plan(GUARD, NEWS), None)


def test_progress_waits_for_the_window_and_everything_else_goes() -> None:
    pace = StatusPace()
    assert pace.admit(plan(GUARD, PROGRESS, TOLD), 10.0) == (plan(GUARD), WINDOW_S)
    assert pace.admit(plan(PROGRESS, TOLD), 10.0 + WINDOW_S) == (plan(PROGRESS, TOLD), None)
    assert len(pace) == 0


def test_progress_that_news_have_overtaken_waits_no_more() -> None:
    pace = StatusPace()
    pace.admit(plan(PROGRESS), 0.0)
    assert pace.admit(plan(NEWS), 0.1) == (plan(NEWS), None)
    assert pace.admit(plan(PROGRESS), 100.0) == (plan(), WINDOW_S)


@given(st.lists(st.floats(0, 30), max_size=40))
def test_a_status_waits_from_when_it_was_first_wanted_whatever_is_planned_meanwhile(later_s: list[float]) -> None:
    pace = StatusPace()
    for index in range(500):
        pace.admit(plan(PROGRESS, name=f"other-{index}"), 0.0)
    _, wait_s = pace.admit(plan(PROGRESS), 0.0)
    assert wait_s == 500 / RATE_PER_S
    for now_s in sorted(later_s):
        admitted, left_s = pace.admit(plan(PROGRESS), now_s)
        if now_s >= wait_s:
            assert admitted == plan(PROGRESS)
            break
        assert (admitted, left_s) == (plan(), wait_s - now_s)


def test_a_storm_of_progress_is_spread_over_time_and_no_wait_exceeds_its_bound() -> None:
    pace = StatusPace()
    waits_s = [pace.admit(plan(PROGRESS, name=f"ws-{index}"), 0.0)[1] or 0.0 for index in range(5_000)]
    soon = sum(wait_s <= 10.0 for wait_s in waits_s)
    assert soon <= 10.0 * RATE_PER_S + 1
    assert max(waits_s) == WAIT_MAX_S
