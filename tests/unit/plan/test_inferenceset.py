"""InferenceSets: as many Workspaces as wanted, changed one at a time, gone before their set is."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Action, Create, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.inferenceset import plan_inference_set
from kaito.settings import PlanSettings
from tests.builders import SKU, World, at, metadata, moment, ref_of
from tests.unit.plan.applier import Applier

REF = ObjectRef("InferenceSet", "default", "set")
SETTINGS = PlanSettings()
CREATED_BY = "inferenceset.kaito.sh/created-by"
FINALIZER = "inferenceset.finalizer.kaito.sh"


def inference_set(replicas: int = 2, *, preset: str = "phi-4", inference: Json | None = None, **spec: Any) -> Json:
    template = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"kaito.sh/runtime": "vllm"}},
        "resource": {"instanceType": SKU},
        "inference": {"preset": {"name": preset}} | (inference or {}),
    }
    body = {"replicas": replicas, "template": template, "labelSelector": {"matchLabels": {"apps": "llm"}}}
    meta = metadata("set", "default", finalizers=[FINALIZER])
    return {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "metadata": meta, "spec": body | spec}


class Life:
    """An InferenceSet in a world in which every Workspace gets ready when it is told to."""

    def __init__(self, replicas: int = 2, **more: Any) -> None:
        self.world = World(inference_set(replicas, **more))
        self.applier = Applier(self.world)

    @property
    def spec(self) -> Json:
        found: Json = self.world.bodies[REF]["spec"]
        return found

    @property
    def status(self) -> Json:
        found: Json = self.world.bodies[REF].get("status") or {}
        return found

    def plan(self, now_s: float = 0) -> Plan:
        return plan_inference_set(self.world, REF, moment(now_s), SETTINGS)

    def act(self, now_s: float = 0) -> list[str]:
        plan = self.plan(now_s)
        self.applier.run(plan, moment(now_s))
        for action in plan.actions:
            if isinstance(action, PatchRoot) and "inference" in action.patch:
                self.world.bodies[action.root]["metadata"]["generation"] += 1  # as the server counts
        return [word(action) for action in plan.actions]

    def settle(self, now_s: float = 0) -> list[str]:
        words: list[str] = []
        while more := self.act(now_s):
            words += more
        return words

    def children(self) -> list[Json]:
        return [body for ref, body in sorted(self.world.bodies.items()) if ref.kind == "Workspace"]

    def serve(self, *bodies: Json, rate: str = "", nodes: int = 1) -> None:
        """These Workspaces, or all, answer."""
        for body in bodies or self.children():
            done = {
                "type": "WorkspaceSucceeded",
                "status": "True",
                "observedGeneration": body["metadata"]["generation"],
            }
            status: Json = {"conditions": [done], "targetNodeCount": nodes}
            if rate:
                status["performance"] = {"metrics": {"peakTokensPerMinute": {"value": rate}}}
            self.world.put(body | {"status": status})
        self.settle()

    def condition(self, type_: str = "InferenceSetReady") -> tuple[str, str, str]:
        (found,) = (item for item in self.status["conditions"] if item["type"] == type_)
        return found["status"], found["reason"], found["message"]


def word(action: Action) -> str:
    match action:
        case Create() | Delete():
            return f"{type(action).__name__} {action.ref.name}"
        case PatchRoot() | PatchStatus():
            return f"{type(action).__name__} {action.root.name}"
        case _:
            return type(action).__name__


def test_a_replica_is_a_workspace_as_the_template_says() -> None:
    life = Life(1)
    (create,) = (action for action in life.plan().actions if isinstance(action, Create))
    name = create.body["metadata"].pop("name")
    assert name.startswith("set-") and len(name) == 9
    owner = {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "set", "uid": "uid-default-set"}
    assert create.body == {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {
            "namespace": "default",
            "labels": {"team": "a", CREATED_BY: "set"},
            "annotations": {"kaito.sh/runtime": "vllm"},
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "resource": {"labelSelector": {"matchLabels": {"apps": "llm"}}, "instanceType": SKU},
        "inference": {"preset": {"name": "phi-4"}},
    }


def test_as_many_replicas_as_wanted_are_made_at_once_and_counted() -> None:
    life = Life(3)
    words = life.settle()
    assert len([each for each in words if each.startswith("Create")]) == 3
    assert (life.status["replicas"], life.status["readyReplicas"], life.status["selector"]) == (
        3,
        0,
        f"{CREATED_BY}=set",
    )
    assert life.condition() == ("False", "inferencesetNotReady", "0/3 replicas are ready")
    life.serve(rate="100.25")
    assert life.condition() == ("True", "inferencesetReady", "3/3 replicas are ready")
    metric = life.status["performance"]["metrics"]["aggregatedPeakTokensPerMinute"]
    assert metric["value"] == "300.75" and life.plan(9_999).actions == ()


def test_a_stale_view_names_the_same_replicas() -> None:
    life = Life(3)
    names = {action.ref for action in life.plan().actions if isinstance(action, Create)}
    assert names == {action.ref for action in life.plan(60).actions if isinstance(action, Create)} and len(names) == 3


def test_a_replica_that_goes_is_replaced_under_a_name_of_its_own_while_it_terminates() -> None:
    life = Life(2)
    life.settle()
    gone = life.children()[0]
    gone["metadata"] |= {"deletionTimestamp": at(5), "finalizers": ["workspace.finalizer.kaito.sh"]}
    life.settle(5)
    assert len(life.children()) == 3 and life.status["replicas"] == 2
    life.world.drop(ref_of(gone))
    assert [each for each in life.settle(9) if each.startswith("Create")] == []


def test_fewer_are_wanted_so_those_that_do_not_answer_go_first() -> None:
    life = Life(3)
    life.settle()
    first, second, third = life.children()
    life.serve(first, third)
    life.spec["replicas"] = 2
    life.settle()
    assert [body["metadata"]["name"] for body in life.children()] == [b["metadata"]["name"] for b in (first, third)]
    life.spec["replicas"] = 0
    life.settle()
    assert life.children() == [] and life.condition()[2] == "0/0 replicas are ready"
    del second


def test_a_change_that_a_workspace_can_take_is_patched_in_one_at_a_time() -> None:
    life = Life(2)
    life.settle()
    life.serve()
    life.spec["template"]["inference"]["config"] = "mine"
    life.spec["template"]["metadata"]["labels"]["team"] = "b"
    words = life.settle()
    assert len([each for each in words if each.startswith("PatchRoot")]) == 1
    patched = [body for body in life.children() if body["inference"].get("config") == "mine"]
    assert len(patched) == 1 and patched[0]["metadata"]["labels"]["team"] == "b"
    assert life.status["readyReplicas"] == 1  # it is not ready for its new spec yet
    life.serve(patched[0])
    assert all(body["inference"].get("config") == "mine" for body in life.children())


def test_what_the_server_fills_in_is_no_change() -> None:
    life = Life(1, inference={"adapters": [{"source": {"name": "a", "image": "registry/a:1"}}]})
    life.settle()
    (child,) = life.children()
    child["resource"]["count"] = 1
    child["inference"]["preset"]["accessMode"] = "public"
    life.world.put(child)
    life.serve()
    assert life.plan().actions == ()


def test_another_model_replaces_the_replicas_one_by_one() -> None:
    life = Life(2)
    life.settle()
    life.serve()
    life.spec["template"]["inference"]["preset"]["name"] = "phi-3.5-mini-instruct"
    words = life.settle()
    assert len([each for each in words if each.startswith("Delete")]) == 1 and len(life.children()) == 2
    for _ in range(3):
        life.serve()
    assert {body["inference"]["preset"]["name"] for body in life.children()} == {"phi-3.5-mini-instruct"}
    assert life.plan().actions == ()


def test_the_node_limit_counts_the_nodes_of_each_replica() -> None:
    life = Life(1, nodeCountLimit=5)
    life.settle()
    life.serve(nodes=2)
    life.spec["replicas"] = 4
    life.settle()
    assert len(life.children()) == 2
    (blocker,) = (b for b in life.status["blockers"] if b["reason"] == "NodeCountLimit")
    assert blocker["message"] == "spec.nodeCountLimit: 5 nodes are enough for 2 of 4 replicas"


def test_a_foreign_workspace_of_our_name_makes_us_take_the_next_one() -> None:
    life = Life(1)
    (create,) = (action for action in life.plan().actions if isinstance(action, Create))
    foreign = {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": metadata(create.ref.name, "default")}
    life.world.put(foreign | {"resource": {"labelSelector": {"matchLabels": {"a": "b"}}}})
    (again,) = (action for action in life.plan().actions if isinstance(action, Create))
    assert again.ref != create.ref


def test_what_a_replica_waits_for_is_what_the_set_waits_for() -> None:
    life = Life(1)
    life.settle()
    (child,) = life.children()
    blocker = {"gate": "ClaimLaunched", "reason": "QuotaExceeded", "message": "no quota", "culprit": "nodeclaim/x"}
    life.world.put(child | {"status": {"blockers": [blocker | {"nextStep": "ask for more"}]}})
    life.settle()
    (told,) = life.status["blockers"]
    name = child["metadata"]["name"]
    assert (told["message"], told["culprit"]) == (f"{name}: no quota", f"workspace/default/{name}")


def test_the_set_goes_when_its_replicas_are_gone_and_says_so_until_then() -> None:
    life = Life(2)
    life.settle()
    for child in life.children():
        child["metadata"]["finalizers"] = ["workspace.finalizer.kaito.sh"]
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(5)
    assert [each.split()[0] for each in life.settle(5)] == ["PatchStatus", "Delete", "Delete"]
    assert life.condition("InferenceSetDeleting")[0] == "True" and life.plan(999).actions == ()
    life.world.drop(*(ref_of(child) for child in life.children()))
    assert life.settle(6) == ["PatchRoot set"] and REF not in life.world.bodies


@pytest.mark.parametrize("kind", [INFERENCE_SET, WORKSPACE])
def test_no_replica_is_made_or_changed_while_a_kind_is_being_uninstalled(kind: ResourceKind) -> None:
    life = Life(2)
    life.settle()
    life.world.drop(ref_of(life.children()[0]))
    life.world.leaving.add(kind)
    found = life.plan(5)
    assert found.actions == () and found.verdicts[0].reason == "Uninstalling"


@pytest.mark.parametrize("broken", [{"replicas": -1}, {"template": {}}])
def test_an_object_that_does_not_fit_its_model_says_why_and_keeps_what_runs(broken: Json) -> None:
    life = Life(1)
    life.settle()
    life.spec.update(broken)
    assert life.settle(5) == ["PatchStatus set"]
    assert life.condition()[:2] == ("False", "inferencesetFailed") and len(life.children()) == 1


def test_the_first_plan_is_the_finalizer_alone() -> None:
    life = Life(1)
    life.world.bodies[REF]["metadata"]["finalizers"] = []
    assert life.act() == ["PatchRoot set"]


def test_no_replica_is_made_that_would_be_refused_and_those_that_there_are_stay() -> None:
    life = Life(1)
    life.settle()
    life.spec["template"]["metadata"]["annotations"]["kaito.sh/performance-mode"] = "fast"
    life.spec["replicas"] = 3
    life.settle(5)
    assert len(life.children()) == 1 and life.condition()[0] == "False"
    (told, *_) = life.status["blockers"]
    assert told["reason"] == "InvalidInferenceSet" and "spec.template.metadata.annotations" in told["message"]
    life.spec["template"]["metadata"]["annotations"]["kaito.sh/performance-mode"] = "throughput"
    life.settle(6)
    assert len(life.children()) == 3
