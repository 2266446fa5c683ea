from __future__ import annotations

import pytest

from kaito.api.core import NODE
from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import PatchStatus
from kaito.plan.conditions import status_patch
from kaito.plan.progress import is_progress
from kaito.plan.verdict import Failed, Waiting
from tests.builders import moment, node
from tests.unit.plan.test_workspace import Life, claimed

REF, NODE_REF = WORKSPACE.ref("default", "phi"), NODE.ref("", "n0")


def status(**more: object) -> Json:
    conditions = [
        {"type": "NodesReady", "status": "True", "observedGeneration": 1},
        {"type": "GPUReady", "status": "False", "observedGeneration": 1},
    ]
    timeline = [{"stage": "NodeReady", "at": "2026-01-31T12:00:00Z"}]
    return {"state": "Pending", "conditions": conditions, "timeline": timeline, "blockers": []} | more


def paced(after: Json, *found: Waiting | Failed) -> bool:
    return is_progress(status(), after, status_patch(status(), after), found)


def conditions(**status_of: str) -> list[Json]:
    told = {"NodesReady": "True", "GPUReady": "False"} | status_of
    return [{"type": type_, "status": value, "observedGeneration": 1} for type_, value in told.items()]


def waiting(gate: str) -> Waiting:
    return Waiting(gate, "Somehow", "wait", NODE_REF, "")


def test_the_next_stage_and_what_it_waits_for_is_progress() -> None:
    assert paced(status(conditions=conditions(GPUReady="True"), workerNodes=["n0"]), waiting("PodScheduled"))


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (status(state="Ready"), ()),
        (status(targetNodeCount=2), ()),
        (status(instanceType="Standard_D4"), ()),
        (status(refusedInstanceTypes=[]), ()),
        (status(performance={"metrics": {}}), ()),
        (status(conditions=conditions(NodesReady="False")), ()),
        (status(conditions=conditions(BenchmarkCompleted="True")), ()),
        (status(conditions=[item | {"observedGeneration": 2} for item in conditions()]), ()),
        (status(blockers=[{}]), (waiting("NodeReady"),)),
        (status(blockers=[{}]), (Failed("GPUAllocatable", "GPUCountTooSmall", "1 of 2", NODE_REF, ""),)),
    ],
    ids=[
        "state",
        "target",
        "instance type",
        "refusals",
        "measurement",
        "condition lost",
        "condition new",
        "answer to a new spec",
        "stage closed again",
        "failure",
    ],
)
def test_what_somebody_may_act_on_is_not(after: Json, found: tuple[Waiting | Failed, ...]) -> None:
    assert not paced(after, *found)


def test_the_first_status_is_not_progress_and_what_costs_money_waits_for_its_status() -> None:
    life = Life()
    (told,) = (action for action in life.plan(0).actions if isinstance(action, PatchStatus))
    assert not told.is_progress


def test_a_failure_that_has_been_told_does_not_make_later_progress_urgent() -> None:
    known = Failed("GPUAllocatable", "GPUCountTooSmall", "1 of 2", NODE_REF, "")
    blocker = {"gate": known.gate, "reason": known.reason, "message": known.message, "culprit": str(known.culprit)}
    before, after = status(blockers=[blocker]), status(blockers=[blocker], workerNodes=["n0"])
    assert is_progress(before, after, status_patch(before, after), (known,))


def test_a_stage_keeps_the_time_at_which_it_was_seen_though_its_status_is_written_later() -> None:
    life = Life()
    life.settle(0)
    (claim,) = life.claims()
    life.world.put(claim | {"status": claimed("n0", "Launched", "Registered", since=5)}, node("n0", since=5))
    for now_s in (10, 25):  # the status waits: only what is noted is carried out
        waiting_plan = life.plan(now_s)
        notes = tuple(action for action in waiting_plan.actions if not isinstance(action, PatchStatus))
        life.applier.run(type(waiting_plan)(REF, notes), moment(now_s))
    life.settle(40)
    times = {stage["stage"]: stage["at"] for stage in life.status["timeline"]}
    assert times["GPUAllocatable"] == times["TaintsCleared"] == "2026-01-31T12:00:10Z"


def test_a_stage_that_closed_before_it_was_written_comes_back_with_its_new_time() -> None:
    life = Life()
    life.settle(0)
    (claim,) = life.claims()
    claim |= {"status": claimed("n0", "Launched", "Registered", since=5)}
    for now_s, gpus in ((10, 1), (20, 0), (30, 1)):
        life.world.put(claim, node("n0", gpus=gpus, since=5))
        found = life.plan(now_s)
        notes = tuple(action for action in found.actions if not isinstance(action, PatchStatus))
        life.applier.run(type(found)(REF, notes), moment(now_s))
    life.settle(40)
    times = {stage["stage"]: stage["at"] for stage in life.status["timeline"]}
    assert times["GPUAllocatable"] == "2026-01-31T12:00:30Z"
