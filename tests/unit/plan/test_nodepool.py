"""The Karpenter way: one NodePool per Workspace, sized up and down, known by its labels, released with its claims."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Apply, Create
from kaito.settings import PlanSettings
from tests.builders import at, condition, metadata, node, node_claim
from tests.unit.plan.test_workspace import REF, Life, word

KARPENTER = PlanSettings(node_provisioner="karpenter", benchmark=False)
PINS = {"karpenter.kaito.sh/workspace-name": "phi", "karpenter.kaito.sh/workspace-namespace": "default"}
BIG = {"preset": "deepseek-ai/DeepSeek-R1-0528", "instance_type": "Standard_ND96isr_H100_v5"}  # two nodes


def karpenter(**ws: Any) -> Life:
    return Life(KARPENTER, **ws)


def pool(name: str = "default-phi", *, owner: str = "phi", status: Json | None = None, **meta: Any) -> Json:
    labels = PINS | {"karpenter.kaito.sh/workspace-name": owner}
    uid = {"kaito.sh/workspace-uid": f"uid-default-{owner}"}
    body = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "spec": {"replicas": 1}, "status": status or {}}
    return body | {"metadata": metadata(name, **({"labels": labels, "annotations": uid} | meta))}


def pool_claim(index: int, **more: Any) -> Json:
    labels = PINS | {"karpenter.sh/nodepool": "default-phi", "apps": "phi"}
    return node_claim(f"default-phi-{index}", labels=labels, **more)


def created(life: Life) -> Create:
    (create,) = (action for action in life.plan(0).actions if isinstance(action, Create))
    return create


def test_a_pool_has_the_shape_that_upstream_gives_it_and_never_expires() -> None:
    body = created(karpenter(**BIG, annotations={"kaito.sh/node-class-name": "mine"})).body
    body["metadata"]["annotations"].pop("kaito.sh/desired-hash")
    uid = {"kaito.sh/workspace-uid": "uid-default-phi"}
    assert body == {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {
            "name": "default-phi",
            "labels": {"karpenter.kaito.sh/managed-by": "kaito"} | PINS,
            "annotations": uid,
        },
        "spec": {
            "replicas": 2,
            "template": {
                "metadata": {"labels": {"apps": "phi"} | PINS, "annotations": uid},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "mine"},
                    "requirements": [
                        {
                            "key": "node.kubernetes.io/instance-type",
                            "operator": "In",
                            "values": ["Standard_ND96isr_H100_v5"],
                        },
                        {"key": "karpenter.azure.com/placement-scope", "operator": "In", "values": ["regional"]},
                    ],
                    "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
                    "expireAfter": "Never",
                },
            },
            "disruption": {"consolidateAfter": "0s", "budgets": [{"nodes": "1", "reasons": ["Drifted"]}]},
        },
    }


def test_a_workspace_lives_on_karpenters_nodes_and_its_pods_insist_on_them() -> None:
    life = karpenter()
    assert life.settle(0) == [
        "PatchStatus",
        "Create NodePool",
        "Emit Normal NodePoolCreated",
        "PatchStatus",  # of 1 NodeClaims exist
    ]
    status = {
        "nodeName": "n0",
        "conditions": [condition(t) for t in ("Launched", "Registered", "Initialized", "Ready")],
    }
    life.world.put(pool_claim(0) | {"status": status}, node("n0", labels=PINS | {"apps": "phi"}))
    assert {"Create StatefulSet", "Create Service"} <= set(life.settle(9))
    body = next(b for ref, b in life.world.bodies.items() if ref.kind == "StatefulSet")
    terms = body["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {e["key"]: e["values"][0] for e in term["matchExpressions"]} == PINS | {"apps": "phi"}


@pytest.mark.parametrize(("replicas", "target"), [(1, 2), (3, 2)])
def test_a_pool_is_sized_up_and_down(replicas: int, target: int) -> None:
    life = karpenter(**BIG)
    life.settle(0)
    body = life.world.bodies[NODE_POOL.ref("", "default-phi")]
    body["spec"]["replicas"] = replicas
    (apply,) = (action for action in life.plan(1).actions if isinstance(action, Apply))
    assert apply.body["spec"]["replicas"] == target
    assert apply.reason == f"edited by somebody else: spec.replicas is {replicas}, should be {target}"
    life.settle(1)
    assert life.plan(2).actions == ()


def test_the_pool_of_a_namesake_across_the_dash_is_not_ours() -> None:
    """default/phi and default-phi/'' would share a name: whoever comes second takes another."""
    life = karpenter()
    life.world.put(pool(owner="other"))
    name = created(life).ref.name
    assert name.startswith("default-phi-") and len(name) <= 63
    life.settle(0)
    assert life.plan(1).actions == ()


def test_a_pool_of_an_upstream_kaito_is_adopted() -> None:
    life = karpenter()
    life.world.put(pool(annotations=None))
    assert [word(a) for a in life.plan(0).actions if not word(a).startswith(("Emit", "Patch"))] == ["Apply NodePool"]
    life.settle(0)
    assert life.plan(1).actions == ()


def test_a_workspace_that_was_born_with_claims_keeps_them_when_the_operator_turns_to_karpenter() -> None:
    life = Life()
    life.serve()
    life.settings = KARPENTER
    assert life.plan(50).actions == ()


def test_the_kind_that_is_not_installed_is_named() -> None:
    life = karpenter()
    life.world.absent.add(NODE_POOL)
    assert "Create NodePool" not in life.settle(0)
    assert [b["reason"] for b in life.status["blockers"]] == ["NodePoolKindAbsent"]


def test_karpenters_own_words_are_the_message_and_silence_is_named() -> None:
    life = karpenter()
    life.settle(0)
    body = life.world.bodies[NODE_POOL.ref("", "default-phi")]
    life.settle(61)
    assert [(b["reason"], b["culprit"]) for b in life.status["blockers"]] == [("NoProvisioner", "nodepool/default-phi")]
    said = condition("NodeClassReady", "False", "NodeClassNotFound", "no such AKSNodeClass")
    body["status"] = {"conditions": [said]}
    life.settle(62)
    (blocker,) = life.status["blockers"]
    assert blocker["reason"] == "NodeClassNotFound" and "no such AKSNodeClass" in blocker["message"]


def test_the_pool_goes_first_and_the_workspace_when_the_last_claim_is_gone() -> None:
    life = karpenter()
    life.settle(0)
    life.world.put(pool_claim(0, node="n0", finalizers=["karpenter.sh/termination"]))
    life.world.bodies[NODE_POOL.ref("", "default-phi")]["metadata"]["finalizers"] = ["karpenter.sh/termination"]
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(9)
    assert life.settle(9) == ["PatchStatus", "Delete NodePool", "Delete NodeClaim"]
    assert [b["culprit"] for b in life.status["blockers"]] == ["nodepool/default-phi", "nodeclaim/default-phi-0"]
    life.world.drop(NODE_POOL.ref("", "default-phi"), NODE_CLAIM.ref("", "default-phi-0"))
    assert life.settle(10) == ["PatchRoot"] and REF not in life.world.bodies


def test_an_uninstall_leaves_pool_and_claims_on_their_way_out() -> None:
    life = karpenter()
    life.settle(0)
    life.world.put(pool_claim(0, node="n0", finalizers=["karpenter.sh/termination"]))
    life.world.bodies[NODE_POOL.ref("", "default-phi")]["metadata"]["finalizers"] = ["karpenter.sh/termination"]
    life.world.leaving.add(WORKSPACE)
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(9)
    assert life.settle(9) == ["Delete NodePool", "Delete NodeClaim", "Delete ControllerRevision", "PatchRoot"]
    assert REF not in life.world.bodies
