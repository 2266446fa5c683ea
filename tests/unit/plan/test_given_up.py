"""Claims that their provisioner deletes before they have a machine: no hot loop, its words, the next type in time."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.actors.reader import last_warning
from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.plan.actions import Create, Delete, Read
from kaito.plan.provision.given_up import EVENTS_KEY
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import at, condition, moment
from tests.unit.plan.test_workspace import REF, Life, claimed

WORDS = "InsufficientCapacityError\ninsufficient capacity, no offering is available"
FALLBACK = {"annotations": {"kaito.sh/instance-type-fallbacks": "Standard_NC40ads_H100_v5"}}
POOL = NODE_POOL.ref("", "default-phi")
CLAIMS, KARPENTER = PlanSettings(benchmark=False), PlanSettings(node_provisioner="karpenter", benchmark=False)


class Refusing(Life):
    """The provisioner of this life gives up each claim within a second; Karpenter makes them itself."""

    def __init__(self, settings: PlanSettings = CLAIMS, **ws: Any) -> None:
        super().__init__(settings, **ws)
        self.made: list[float] = []  # when claims were made

    def second(self, now_s: float) -> None:
        for claim in self.claims():
            self.world.drop(NODE_CLAIM.ref("", claim["metadata"]["name"]))
        self.turn(now_s)
        pool = self.world.bodies.get(POOL)
        if pool and pool["spec"]["replicas"] > len(self.claims()):
            self.karpenter_makes(pool, now_s)
        self.turn(now_s)

    def turn(self, now_s: float) -> None:
        while (plan := self.plan(now_s)).actions:
            self.made += [now_s for action in plan.actions if isinstance(action, Create) and action.kind == NODE_CLAIM]
            self.applier.run(plan, moment(now_s))
            if any(isinstance(action, Read) for action in plan.actions):
                self.world.answers[REF, EVENTS_KEY] = Answer(WORDS, moment(now_s))

    def karpenter_makes(self, pool: Json, now_s: float) -> None:
        made = pool["spec"]["template"]
        name = f"default-phi-{len(self.made)}"
        meta = made["metadata"] | {"name": name, "uid": f"uid-{name}", "creationTimestamp": at(now_s)}
        self.world.put({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": meta, "spec": made["spec"]})
        self.made.append(now_s)

    def live(self, until_s: int, begin_s: int = 0) -> None:
        for now_s in range(begin_s, until_s):
            self.second(now_s)

    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.made, self.made[1:], strict=False)]


@pytest.mark.parametrize("settings", [CLAIMS, KARPENTER], ids=lambda each: each.node_provisioner)
def test_claims_that_are_given_up_are_asked_for_more_and_more_seldom(settings: PlanSettings) -> None:
    life = Refusing(settings)
    life.live(930)
    for gap, wait_s in zip(life.gaps(), (10, 20, 40, 80, 160, 300, 300), strict=True):
        assert wait_s <= gap <= wait_s + 2


@pytest.mark.parametrize("settings", [CLAIMS, KARPENTER], ids=lambda each: each.node_provisioner)
def test_the_provisioners_words_are_the_condition_and_stay_while_the_next_claim_is_waited_for(
    settings: PlanSettings,
) -> None:
    life = Refusing(settings)
    told = set()
    for now_s in range(100):
        life.second(now_s)
        (said,) = (item for item in life.status["conditions"] if item["type"] == "NodeClaimReady")
        told.add(said["reason"] if now_s > 1 else "")
    assert told == {"", "InsufficientCapacityError"}
    (blocker,) = life.status["blockers"]
    culprit = "nodepool/default-phi" if settings is KARPENTER else "workspace/default/phi"
    assert (blocker["gate"], blocker["culprit"], blocker["since"]) == ("ClaimLaunched", culprit, at(0))
    assert "4 times so far" in blocker["message"] and "no offering is available" in blocker["message"]
    assert "choose another instanceType" in blocker["nextStep"]


@pytest.mark.parametrize("settings", [CLAIMS, KARPENTER], ids=lambda each: each.node_provisioner)
def test_after_the_launch_timeout_the_next_type_is_asked_for_at_once(settings: PlanSettings) -> None:
    life = Refusing(settings, **FALLBACK)
    life.live(299)
    assert life.status["instanceType"] == "Standard_NC24ads_A100_v4"
    life.live(303, 299)
    assert life.status["instanceType"] == "Standard_NC40ads_H100_v5" and life.made[-1] in (300, 301, 302)
    (refused,) = life.status["refusedInstanceTypes"]
    assert (refused["reason"], refused["message"]) == tuple(WORDS.split("\n"))


def test_a_restart_of_the_operator_forgets_neither_the_wait_nor_the_words() -> None:
    life = Refusing()
    life.live(40)
    before, made = dict(life.status), list(life.made)
    life.world.answers.clear()
    life.turn(40)
    assert life.status == before and life.made == made


def test_a_claim_that_gets_its_machine_after_all_clears_the_record() -> None:
    life = Refusing()
    life.live(35)
    assert life.status["claimsGivenUp"]["times"] == 3
    life.turn(80)
    (claim,) = life.claims()
    life.world.put(claim | {"status": claimed("n0", "Launched")})
    life.settle(80)
    assert "claimsGivenUp" not in life.status
    assert [b["reason"] for b in life.status["blockers"]] == ["NodeNotRegistered"]


def test_what_we_delete_ourselves_is_not_given_up_and_neither_is_a_machine_that_was_lost() -> None:
    life = Life()
    life.settle(0)
    (claim,) = life.claims()
    life.world.put(claim | {"status": {"conditions": [condition("Launched", "False", "QuotaExceeded", "none left")]}})
    life.settle(5)
    assert [action.ref.name for action in life.plan(301).actions if isinstance(action, Delete)]
    life.settle(301)
    life.settle(302)
    assert "claimsGivenUp" not in life.status and len(life.claims()) == 1
    (claim,) = life.claims()
    life.world.put(claim | {"status": claimed("n0", "Launched", since=310)})
    life.settle(310)
    life.world.drop(NODE_CLAIM.ref("", claim["metadata"]["name"]))
    assert "Create NodeClaim" in life.settle(320) and "claimsGivenUp" not in life.status


def test_several_that_are_given_up_together_count_once() -> None:
    life = Refusing(preset="llama-3.3-70b-instruct")
    life.live(12)
    assert life.made[:4] == [0, 0, 0, 11] and life.status["claimsGivenUp"]["times"] == 1


def test_the_last_warning_speaks_without_the_objects_name_before_its_words() -> None:
    about = NODE_CLAIM.ref("", "x")
    events: list[Json] = [
        {"type": "Warning", "reason": "Old", "message": "old", "lastTimestamp": "2026-01-01T00:00:00Z"},
        {"type": "Normal", "reason": "Launched", "message": "it runs", "lastTimestamp": "2026-01-03T00:00:00Z"},
        {"type": "Warning", "reason": "No", "message": "NodeClaim x event: none", "eventTime": "2026-01-02T00:00:00Z"},
    ]
    assert last_warning(events, about) == "No\nnone"
    assert last_warning([], about) == ""
