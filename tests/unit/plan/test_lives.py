"""Random lives: a provisioner, faults, hands, and a planner whose view may be old. Nodes never multiply."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito.api.meta import Json, ObjectRef
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Create, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.ownership import is_own
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from tests.builders import World, at, condition, moment, node, pod, workspace
from tests.unit.plan.applier import Applier

REF = ObjectRef("Workspace", "default", "phi")
SETTINGS = PlanSettings(benchmark=False)
TARGET = 2
LIFECYCLE = ("Launched", "Registered", "Initialized", "Ready")
MOVES = ("plan", "plan", "plan", "stale", "launch", "finalize", "fail", "lose", "remove", "released", "wait", "long")


class Life:
    """A world, its past (what a stale view may show) and the clock."""

    def __init__(self, *, can_go_back: bool = False) -> None:
        self.can_go_back = can_go_back
        self.seen = 0  # the latest point of the past that was planned on
        self.world = World(workspace(target=TARGET))
        self.past: list[World] = [deepcopy(self.world)]
        self.now_s = 0.0
        self.applier = Applier(self.world)

    def move(self, name: str, draw: Any) -> None:
        self.now_s += 1
        live = [body for body in self.claims() if "deletionTimestamp" not in body["metadata"]]
        match name:
            case "plan":
                self.seen = len(self.past)
                self.carry_out(plan_workspace(self.world, REF, moment(self.now_s), SETTINGS))
            case "stale":
                oldest = max(0, len(self.past) - 4) if self.can_go_back else min(self.seen, len(self.past) - 1)
                self.seen = draw(st.integers(oldest, len(self.past) - 1))
                self.carry_out(plan_workspace(self.past[self.seen], REF, moment(self.now_s), SETTINGS))
            case "wait" | "long":
                self.now_s += 30 if name == "wait" else 600
            case "released":
                for body in self.claims():
                    if "deletionTimestamp" in body["metadata"]:
                        self.world.drop(ObjectRef("NodeClaim", "", body["metadata"]["name"]))
            case _ if live:
                self.disturb(name, draw(st.sampled_from(live)))
        self.past.append(deepcopy(self.world))

    def disturb(self, name: str, claim: Json) -> None:
        """What a provisioner, a failing machine or a hand does to one live claim."""
        claim_name = claim["metadata"]["name"]
        match name:
            case "launch":
                status = {"nodeName": f"node-{claim_name}", "conditions": [condition(t, since=0) for t in LIFECYCLE]}
                self.world.put(claim | {"status": status}, node(f"node-{claim_name}", labels={"apps": "phi"}))
            case "finalize":
                claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]
            case "fail":
                claim["status"] = {"conditions": [condition("Launched", "False", "QuotaExceeded")]}
            case "lose":
                self.world.put(node(f"node-{claim_name}", ready="Unknown", since=self.now_s, labels={"apps": "phi"}))
            case "remove":
                self.delete(claim)

    def delete(self, claim: Json) -> None:
        if claim["metadata"].get("finalizers"):
            claim["metadata"].setdefault("deletionTimestamp", at(self.now_s))
        else:
            self.world.drop(ObjectRef("NodeClaim", "", claim["metadata"]["name"]))

    def claims(self) -> list[Json]:
        return [body for ref, body in sorted(self.world.bodies.items()) if ref.kind == "NodeClaim"]

    def live(self) -> list[str]:
        return [body["metadata"]["name"] for body in self.claims() if "deletionTimestamp" not in body["metadata"]]

    def carry_out(self, plan: Plan) -> None:
        """As the applier does it: `AlreadyExists` and ours is success, an unmet precondition ends the plan."""
        for action in plan.actions:
            if isinstance(action, Create) and (found := self.world.bodies.get(action.ref)):
                assert is_own(action.body, found)
                continue
            if isinstance(action, PatchRoot | PatchStatus):
                version = self.world.bodies[REF]["metadata"]["resourceVersion"]
                if action.resource_version != version:
                    return
            self.applier.run(Plan(REF, (action,)), moment(self.now_s))

    def settle(self) -> None:
        """Faults stop: the provisioner does its work until nothing is planned any more."""
        for _ in range(60):
            self.now_s += 60
            self.move("released", None)
            for body in self.claims():
                if not (body.get("status") or {}).get("nodeName") and "deletionTimestamp" not in body["metadata"]:
                    self.disturb("launch", body)
            for name in self.live():
                self.world.put(node(f"node-{name}", labels={"apps": "phi"}))
            if ObjectRef("StatefulSet", "default", "phi") in self.world.bodies:
                self.world.put(
                    *(pod(f"phi-{i}", node=f"node-{n}", ready=True) for i, n in enumerate(self.live()[:TARGET]))
                )
            plan = plan_workspace(self.world, REF, moment(self.now_s), SETTINGS)
            if not plan.actions and self.world.bodies[REF]["status"]["state"] == "Ready":
                return
            self.carry_out(plan)
        raise AssertionError("not converged")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.sampled_from(MOVES), max_size=25), st.data())
def test_a_view_that_lags_never_multiplies_machines_and_in_the_end_it_serves(moves: list[str], data: Any) -> None:
    life = Life()
    for name in moves:
        life.move(name, data.draw)
        assert len(life.live()) <= TARGET, (name, life.live())
    life.settle()
    assert len(life.live()) == TARGET


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.sampled_from(MOVES), max_size=25), st.data())
def test_what_a_new_leader_with_an_older_view_doubled_is_given_back(moves: list[str], data: Any) -> None:
    """Views of one process never go back in time; those of its successor may, once."""
    life = Life(can_go_back=True)
    for name in moves:
        life.move(name, data.draw)
    life.settle()
    assert len(life.live()) == TARGET


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.sampled_from(MOVES), max_size=15), st.data())
def test_however_it_went_an_uninstall_ends_by_itself_with_every_claim_on_its_way_out(
    moves: list[str], data: Any
) -> None:
    life = Life()
    for name in moves:
        life.move(name, data.draw)
    for claim in life.claims():
        claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]  # nobody releases them
    life.world.leaving.add(WORKSPACE)
    life.carry_out(plan_workspace(life.world, REF, moment(life.now_s), SETTINGS))
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(life.now_s)
    for _ in range(2):
        life.carry_out(plan_workspace(life.world, REF, moment(life.now_s), SETTINGS))
    assert REF not in life.world.bodies
    assert life.live() == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.sampled_from(MOVES), max_size=15), st.data())
def test_however_it_went_a_deletion_leaves_no_machine(moves: list[str], data: Any) -> None:
    life = Life()
    for name in moves:
        life.move(name, data.draw)
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(life.now_s)
    for _ in range(5):
        plan = plan_workspace(life.world, REF, moment(life.now_s), SETTINGS)
        assert not any(isinstance(action, Create) for action in plan.actions)
        assert all(action.uid for action in plan.actions if isinstance(action, Delete))
        life.carry_out(plan)
        if REF not in life.world.bodies:
            break
        life.move("released", data.draw)
    assert REF not in life.world.bodies
    assert life.claims() == []
