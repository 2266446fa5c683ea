"""A cloud that gives no machine: in its own words at once, replaced in time, by another type where one is named."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.api.nodepool import NODE_POOL
from kaito.settings import PlanSettings
from tests.builders import condition, config_map, stateful_set
from tests.unit.plan.test_workspace import REF, Life

FIRST, SECOND, THIRD = "Standard_NC24ads_A100_v4", "Standard_NC40ads_H100_v5", "Standard_NC48ads_A100_v4"
FALLBACKS = {"annotations": {"kaito.sh/instance-type-fallbacks": f"{SECOND}, {THIRD}"}}
NO_QUOTA = condition("Launched", "False", "QuotaExceeded", "no cores left")


def types(life: Life) -> list[str]:
    found = (claim["spec"]["requirements"] for claim in life.claims())
    return [next(r["values"][0] for r in each if r["key"] == "node.kubernetes.io/instance-type") for each in found]


def refuse(life: Life, now_s: float) -> list[str]:
    """The cloud refuses every claim of now; returns what is planned until its time is up, and what then."""
    for claim in life.claims():
        life.world.put(claim | {"status": {"conditions": [NO_QUOTA]}})
    life.settle(now_s)
    return life.settle(now_s + 300)


def test_the_clouds_own_words_are_the_condition_within_one_event() -> None:
    life = Life()
    life.settle(0)
    (claim,) = life.claims()
    life.world.put(claim | {"status": {"conditions": [NO_QUOTA]}})
    assert life.act(5) == ["PatchStatus", "Emit Warning QuotaExceeded"]
    (said,) = (item for item in life.status["conditions"] if item["type"] == "NodeClaimReady")
    assert (said["reason"], said["message"]) == ("QuotaExceeded", "no cores left")


def test_after_its_time_the_next_type_is_asked_for_and_the_refusal_is_remembered() -> None:
    life = Life(**FALLBACKS)
    life.settle(0)
    assert types(life) == [FIRST]
    assert "Emit Warning InstanceTypeFallback" in refuse(life, 5)
    assert (types(life), life.status["instanceType"]) == ([SECOND], SECOND)
    (refused,) = life.status["refusedInstanceTypes"]
    assert (refused["instanceType"], refused["reason"], refused["message"]) == (FIRST, "QuotaExceeded", "no cores left")
    refuse(life, 400)
    assert types(life) == [THIRD]


def test_when_all_are_refused_the_oldest_refusal_is_tried_again_never_faster_than_the_timeout() -> None:
    life = Life(**FALLBACKS)
    life.settle(0)
    asked = []
    for turn in range(7):
        asked += types(life)
        refuse(life, 301 * turn)
    assert asked == [FIRST, SECOND, THIRD, FIRST, SECOND, THIRD, FIRST]


def test_without_a_fallback_the_same_type_is_asked_for_again() -> None:
    life = Life()
    life.settle(0)
    refuse(life, 5)
    assert types(life) == [FIRST] and "refusedInstanceTypes" not in life.status


def test_the_node_count_follows_the_type_and_all_nodes_are_of_one_type() -> None:
    """Two of the first; of its fallback with eight GPUs one is enough, and the one that had launched goes."""
    fallback = {"annotations": {"kaito.sh/instance-type-fallbacks": "Standard_ND96isr_H100_v5"}}
    life = Life(preset="qwen/qwen2.5-coder-32b-instruct", **fallback)
    life.settle(0)
    assert (types(life), life.status["targetNodeCount"]) == ([FIRST, FIRST], 2)
    first, second = life.claims()
    life.world.put(first | {"status": {"conditions": [condition("Launched")]}})
    life.world.put(second | {"status": {"conditions": [NO_QUOTA]}})
    life.settle(301)
    assert (types(life), life.status["targetNodeCount"]) == (["Standard_ND96isr_H100_v5"], 1)


def test_what_runs_keeps_its_type_whatever_the_annotation_says() -> None:
    life = Life(**FALLBACKS)
    life.settle(0)
    refuse(life, 5)
    life.world.put(stateful_set())
    life.world.bodies[REF]["metadata"]["annotations"] = {}
    life.settle(400)
    assert (types(life), life.status["instanceType"]) == ([SECOND], SECOND)


def test_karpenters_pool_turns_to_the_next_type_too() -> None:
    life = Life(PlanSettings(node_provisioner="karpenter"), **FALLBACKS)
    life.settle(0)
    pool = life.world.bodies[NODE_POOL.ref("", "default-phi")]
    made = pool["spec"]["template"]
    claim: Json = {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "spec": made["spec"]}
    meta = made["metadata"] | {"name": "default-phi-x", "uid": "u", "creationTimestamp": "2026-01-31T12:00:00Z"}
    life.world.put(claim | {"metadata": meta, "status": {"conditions": [NO_QUOTA]}})
    life.settle(300)
    (wanted,) = life.world.bodies[NODE_POOL.ref("", "default-phi")]["spec"]["template"]["spec"]["requirements"][:1]
    assert wanted["values"] == [SECOND] and life.claims() == []


def longer(tokens: int) -> Json:
    return config_map("mine", inference_config__yaml=f"vllm:\n  max-model-len: {tokens}\n")


def test_a_longer_context_asked_for_while_nothing_runs_is_a_new_question() -> None:
    life = Life(config="mine", preset="llama-3.3-70b-instruct")
    life.world.put(longer(2048))
    life.settle(0)
    assert (life.status["targetNodeCount"], life.status["contextTokens"]) == (3, 2048)
    life.world.put(longer(131072))
    life.settle(1)
    assert (life.status["targetNodeCount"], len(life.claims()), life.status["contextTokens"]) == (6, 6, 131072)
    life.world.put(longer(4096))
    life.settle(2)
    assert (life.status["targetNodeCount"], len(life.claims())) == (3, 3)


def test_once_it_runs_the_count_stands_and_the_reasoning_says_how_to_get_another() -> None:
    life = Life(config="mine", preset="llama-3.3-70b-instruct")
    life.world.put(longer(2048))
    life.settle(0)
    life.world.put(stateful_set(), longer(131072))
    life.settle(1)
    assert life.status["targetNodeCount"] == 3
    told = _stage(life, "NodesPlanned")
    assert told.startswith("3 nodes, as decided when the Workspace was new; today: ")
    assert told.endswith("to get 6 nodes, create the Workspace anew")


def _stage(life: Life, name: str) -> Any:
    return next(stage["message"] for stage in life.status["timeline"] if stage["stage"] == name)
