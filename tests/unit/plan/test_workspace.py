"""The life of a Workspace, one plan at a time: whole plans and whole statuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ObjectRef
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE, WorkspaceStatus
from kaito.plan.actions import Action, Apply, Create, Delete, Emit, PatchRoot, PatchStatus, Plan, Read, Remember
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from tests.builders import (
    World,
    at,
    condition,
    config_map,
    container_status,
    moment,
    node,
    node_claim,
    pod,
    workspace,
)
from tests.unit.plan.applier import Applier, numbered

REF = ObjectRef("Workspace", "default", "phi")
SETTINGS = PlanSettings(benchmark=False)
LIFECYCLE = ("Launched", "Registered", "Initialized", "Ready")
STATEFUL_SET_REF = STATEFUL_SET.ref("default", "phi")


class Life:
    """A Workspace in a world that moves: `act` plans, applies what was planned and says what that was."""

    def __init__(self, settings: PlanSettings = SETTINGS, **ws: Any) -> None:
        self.world = World(workspace(**ws))
        if ws.get("finalizer", True) and "deletionTimestamp" not in ws:
            numbered(self.world, REF, settings)
        self.applier = Applier(self.world)
        self.settings = settings

    def plan(self, now_s: float) -> Plan:
        return plan_workspace(self.world, REF, moment(now_s), self.settings)

    def act(self, now_s: float) -> list[str]:
        plan = self.plan(now_s)
        self.applier.run(plan, moment(now_s))
        return [word(action) for action in plan.actions if not isinstance(action, Remember)]

    def settle(self, now_s: float) -> list[str]:
        words: list[str] = []
        while more := self.act(now_s):
            words += more
        return words

    @property
    def status(self) -> Json:
        status: Json = self.world.bodies[REF].get("status") or {}
        return status

    def conditions(self) -> dict[str, tuple[str, str]]:
        return {item["type"]: (item["status"], item["reason"]) for item in self.status["conditions"]}

    def claims(self) -> list[Json]:
        return [body for ref, body in sorted(self.world.bodies.items()) if ref.kind == "NodeClaim"]

    def serve(self, now_s: float = 0) -> None:
        """Everything that a provisioner, a scheduler and a kubelet do for every claim and pod."""
        self.settle(now_s)
        for index, claim in enumerate(self.claims()):
            name = f"n{index}"
            self.world.put(claim | {"status": claimed(name)}, node(name, labels={"apps": "phi"}, since=now_s))
        self.settle(now_s)
        for index in range(len(self.claims())):
            self.world.put(pod(f"phi-{index}", node=f"n{index}", ready=True))
        self.settle(now_s)


def claim_asked_for(life: Life) -> Create:
    (create,) = (action for action in life.plan(0).actions if isinstance(action, Create))
    return create


def claimed(node_name: str, *types: str, since: float = 0) -> Json:
    conditions = [condition(type_, since=since) for type_ in types or LIFECYCLE]
    return {"nodeName": node_name, "providerID": f"kaito://{node_name}", "conditions": conditions}


def word(action: Action) -> str:
    match action:
        case Create() | Apply() | Delete():
            return f"{type(action).__name__} {action.ref.kind}"
        case Emit():
            return f"Emit {action.type} {action.reason}"
        case PatchRoot() | PatchStatus() | Read() | Remember():
            return type(action).__name__


def test_the_first_plan_is_the_finalizer_alone() -> None:
    plan = Life(finalizer=False).plan(0)
    assert [word(action) for action in plan.actions] == ["PatchRoot"]
    patch = plan.actions[0].patch["metadata"]
    assert patch["finalizers"] == ["workspace.finalizer.kaito.sh"]
    assert patch["annotations"]["workspace.kaito.io/revision"] == "1"


def test_a_workspace_lives_from_claim_to_answer_and_then_is_quiet() -> None:
    life = Life()
    assert life.act(0) == ["PatchStatus", "Create NodeClaim", "Emit Normal NodeClaimCreated"]
    assert life.status["targetNodeCount"] == 1
    assert life.act(1) == ["PatchStatus", "Emit Normal MachineNotLaunched"]
    (claim,) = life.claims()
    life.world.put(claim | {"status": {"conditions": [condition("Launched", since=5)]}})
    assert life.act(5) == ["PatchStatus", "Emit Normal NodeNotRegistered"]
    life.world.put(claim | {"status": claimed("n1", "Launched", "Registered", since=9)})
    life.world.put(node("n1", gpus=None, ready="False", since=9))
    assert life.act(9) == ["PatchStatus", "Emit Normal NodeNotReady"]
    life.world.put(node("n1", gpus=None, since=12))
    assert life.act(12) == ["PatchStatus", "Emit Normal DevicePluginMissing"]
    life.world.put(claim | {"status": claimed("n1", since=20)}, node("n1", since=12))
    assert life.act(20) == [
        "Create Service",
        "Create Service",
        "Create PodDisruptionBudget",
        "Create StatefulSet",
        "PatchStatus",
    ]
    assert life.act(20) == ["PatchStatus", "Emit Normal PodNotCreated"]
    life.world.put(pod(node="n1"))
    assert life.act(21) == ["PatchStatus", "Emit Normal ContainerCreating"]
    life.world.put(pod(node="n1", statuses=[container_status(running=True)]))
    assert life.act(22) == ["PatchStatus", "Emit Normal ModelLoading"]
    life.world.put(pod(node="n1", ready=True))
    assert life.act(60) == ["PatchStatus", "Emit Normal WorkspaceSucceeded"]
    assert life.plan(60) == Plan(REF, (), life.plan(60).verdicts, None)
    assert life.plan(60 + 365 * 86_400).actions == ()


def test_the_status_of_a_workspace_that_answers() -> None:
    life = Life()
    life.serve(30)
    stages = {stage["stage"]: stage["at"] for stage in life.status["timeline"]}
    times = {item["lastTransitionTime"] for item in life.status["conditions"]}
    assert {key: life.status[key] for key in ("state", "workerNodes", "targetNodeCount", "blockers")} == {
        "state": "Ready",
        "workerNodes": ["n0"],
        "targetNodeCount": 1,
        "blockers": [],
    }
    assert life.conditions() == {
        "NodeClaimReady": ("True", "NodeClaimsReady"),
        "NodesReady": ("True", "NodesReady"),
        "GPUReady": ("True", "GPUsAllocatable"),
        "ResourceReady": ("True", "workspaceResourceStatusSuccess"),
        "InferenceReady": ("True", "WorkspaceInferenceStatusSuccess"),
        "WorkspaceSucceeded": ("True", "workspaceSucceeded"),
    }
    assert times == {at(30)}
    assert stages == {
        "NodesPlanned": at(30),
        "ClaimCreated": at(30),
        "ClaimLaunched": at(0),
        "NodeRegistered": at(0),
        "ClaimInitialized": at(0),
        "NodeReady": at(30),
        "TaintsCleared": at(30),
        "InstanceTypeMatched": at(30),
        "GPUAllocatable": at(30),
        "WorkloadCreated": at(30),
        "PodScheduled": at(0),
        "ContainersStarted": at(0),
        "ServerReady": at(0),
    }


def test_independent_claims_are_asked_for_in_one_plan_and_numbered() -> None:
    life = Life(preset=None, template={"spec": {"containers": [{"name": "c", "image": "i"}]}}, count=3)
    creates = [action for action in life.plan(0).actions if isinstance(action, Create)]
    assert [create.reason for create in creates] == ["1 of 3 nodes", "2 of 3 nodes", "3 of 3 nodes"]
    assert len({create.ref.name for create in creates}) == 3


def test_claims_of_an_upstream_kaito_are_counted_whatever_their_names() -> None:
    life = Life(target=1)
    life.world.put(node_claim("wsabcdef123", owner_uid=None))
    assert life.act(0) == ["PatchStatus", "Emit Normal MachineNotLaunched"]


def test_a_foreign_claim_of_our_name_makes_us_take_the_next_name() -> None:
    name = claim_asked_for(Life()).ref.name
    life = Life()
    life.world.put(node_claim(name, owner="sibling"))
    assert claim_asked_for(life).ref.name != name
    life.world.drop(NODE_CLAIM.ref("", name))
    assert claim_asked_for(life).ref.name == name


def test_a_terminating_claim_of_a_former_namesake_is_waited_for_and_named() -> None:
    name = claim_asked_for(Life()).ref.name
    life = Life()
    life.world.put(
        node_claim(
            name,
            owner_uid="uid-former",
            creationTimestamp=at(-99),
            deletionTimestamp=at(-5),
            finalizers=["karpenter.sh/termination"],
        )
    )
    assert life.act(0) == ["PatchStatus", "Emit Normal FormerClaimTerminating"]
    (blocker,) = life.status["blockers"]
    assert (blocker["culprit"], blocker["since"]) == (f"nodeclaim/{name}", at(-5))
    life.world.drop(NODE_CLAIM.ref("", name))
    assert "Create NodeClaim" in life.act(1)


@pytest.mark.parametrize(
    ("status", "left_s"),
    [
        ({"conditions": [condition("Launched", "False", "QuotaExceeded")]}, 300),
        ({"conditions": [condition("Launched")]}, 900),
        (claimed("n1", "Launched", "Registered", since=100), 100 + 900),
        (claimed("n1", since=100), 100 + 300),
    ],
)
def test_a_claim_whose_time_is_up_is_replaced_once_under_a_name_of_its_own(status: Json, left_s: int) -> None:
    life = Life()
    life.settle(0)
    (old,) = life.claims()
    finalizer = {"finalizers": ["karpenter.sh/termination"]}
    life.world.put(old | {"metadata": old["metadata"] | finalizer, "status": status})
    if "nodeName" in status:
        life.world.put(node("n1", ready="False", since=100))
    life.settle(left_s - 1)
    assert [claim["metadata"]["name"] for claim in life.claims()] == [old["metadata"]["name"]]
    (delete,) = (action for action in life.plan(left_s).actions if isinstance(action, Delete))
    assert delete.uid == old["metadata"]["uid"]
    life.settle(left_s)
    live = [claim for claim in life.claims() if "deletionTimestamp" not in claim["metadata"]]
    assert len(life.claims()) == 2 and len(live) == 1
    life.world.drop(delete.ref)
    assert "Create NodeClaim" not in life.settle(left_s + 30)


def test_a_claim_that_nobody_acts_on_is_explained_and_not_replaced() -> None:
    life = Life()
    life.settle(0)
    assert life.settle(3_600) == ["PatchStatus", "Emit Warning NoProvisioner"]
    assert life.plan(30 * 86_400).actions == ()


def test_a_capacity_flap_changes_no_condition_and_makes_no_second_node() -> None:
    life = Life()
    life.serve()
    before = life.conditions()
    life.world.put(node("n0", gpus=0, labels={"apps": "phi"}))
    assert life.settle(100) == ["PatchStatus", "Emit Normal GPUCapacityFlapping"]
    assert (life.conditions(), life.status["state"]) == (before, "Ready")
    life.world.put(node("n0", labels={"apps": "phi"}))
    assert life.settle(130) == ["PatchStatus"]
    assert life.status["blockers"] == []


def test_capacity_lost_for_longer_than_tolerated_is_not_ready_and_the_workload_stays() -> None:
    life = Life()
    life.serve()
    life.world.put(node("n0", gpus=0, labels={"apps": "phi"}))
    life.settle(100)
    assert life.plan(100).recheck_s == 60
    assert life.settle(160) == ["PatchStatus", "Emit Normal GPUCapacityZero"]
    assert (life.status["state"], life.conditions()["NodesReady"]) == ("NotReady", ("False", "NodePluginsNotReady"))
    assert STATEFUL_SET_REF in life.world.bodies and len(life.claims()) == 1


def test_state_never_goes_back_to_pending() -> None:
    life = Life()
    life.serve()
    life.world.put(pod(node="n0", statuses=[container_status(running=True)]))
    life.settle(50)
    assert (life.status["state"], life.conditions()["InferenceReady"]) == (
        "NotReady",
        ("False", "WorkspaceInferenceStatusPending"),
    )


def test_a_crash_without_a_message_asks_for_the_log_once_and_cites_it() -> None:
    life = Life()
    life.serve()
    crashed = container_status(waiting=("CrashLoopBackOff", ""), last={"exitCode": 1}, restarts=2)
    life.world.put(pod(node="n0", statuses=[crashed]))
    assert life.settle(50) == [
        "Read",
        "PatchStatus",
        "Emit Warning ContainerCrashLoopBackOff",
        "PatchStatus",
    ]
    assert life.status["blockers"][0]["message"] == (
        "phi-0: container phi ended with exit code 1: Traceback | ValueError: no"
    )


def test_a_child_edited_by_hand_is_repaired_and_a_deleted_one_comes_back() -> None:
    life = Life()
    life.serve()
    service = life.world.bodies[SERVICE.ref("default", "phi")]
    service["spec"]["ports"][0]["targetPort"] = 9
    life.world.bodies[STATEFUL_SET_REF]["spec"]["replicas"] = 0
    life.world.drop(SERVICE.ref("default", "phi-headless"))
    actions = [action for action in life.plan(50).actions if not isinstance(action, Remember)]
    assert [(word(action), action.reason) for action in actions] == [
        ("Apply Service", "edited by somebody else: spec.ports[80/TCP].targetPort is 9, should be 5000"),
        ("Create Service", "the nodes are ready"),
        ("Apply StatefulSet", "edited by somebody else: spec.replicas is 0, should be 1"),
    ]
    life.settle(50)
    assert life.plan(51).actions == ()


def test_somebody_who_keeps_changing_a_child_is_not_fought_for_ever() -> None:
    life = Life()
    life.serve()
    service = SERVICE.ref("default", "phi")
    words: list[str] = []
    for turn in range(9):
        life.world.bodies[service]["spec"]["selector"] = {"not": "ours"}
        words += life.settle(50 + turn)
    assert words.count("Apply Service") == 5 and words.count("Emit Normal ChildContested") == 1
    (blocker,) = life.status["blockers"]
    assert (blocker["reason"], blocker["culprit"]) == ("ChildContested", "service/default/phi")
    assert (life.status["state"], life.plan(60).recheck_s) == ("Ready", 590)
    assert "Apply Service" in life.settle(650)
    life.settle(2_000)
    assert life.status["blockers"] == []


def test_a_child_that_is_deleted_again_and_again_is_not_made_for_ever() -> None:
    life = Life()
    life.serve()
    words: list[str] = []
    for turn in range(9):
        life.world.drop(SERVICE.ref("default", "phi-headless"))
        words += life.settle(50 + turn)
    assert words.count("Create Service") == 5


def test_a_change_of_what_is_wanted_is_no_repair() -> None:
    life = Life()
    life.serve()
    for turn in range(9):
        life.world.bodies[REF]["metadata"]["annotations"] |= {"kaito.sh/enablelb": str(bool(turn % 2))}
        life.settle(50 + turn)
    assert life.status["blockers"] == [] and life.plan(99).actions == ()


def test_stripped_owner_references_are_put_back_and_foreign_ones_are_respected() -> None:
    life = Life()
    life.serve()
    metadata = life.world.bodies[STATEFUL_SET_REF]["metadata"]
    owners = metadata.pop("ownerReferences")
    assert [word(action) for action in life.plan(50).actions] == ["Apply StatefulSet", "Remember"]
    metadata["ownerReferences"] = [owners[0] | {"uid": "uid-of-somebody-else"}]
    assert life.settle(50) == ["PatchStatus", "Emit Warning WorkloadNameTaken"]


def test_a_workload_of_an_upstream_kaito_is_left_as_it_is() -> None:
    life = Life()
    life.serve()
    body = life.world.bodies[STATEFUL_SET_REF]
    body["metadata"]["annotations"] = {"workspace.kaito.io/revision": "1"}
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "mcr.microsoft.com/kaito-base:0.5.0"
    assert life.plan(50).actions == ()


def test_a_new_operator_image_restarts_nobody_until_the_label_asks() -> None:
    life = Life()
    life.serve()
    life.settings = replace(SETTINGS, inference_image="registry/kaito:9.9")
    assert life.plan(50).actions == ()
    life.world.bodies[REF]["metadata"]["labels"] = {"kaito.sh/upgrade-to-version": "9.9"}
    (apply,) = life.plan(50).actions
    assert isinstance(apply, Apply)
    assert apply.body["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/kaito:9.9"


def test_deletion_releases_the_machines_first_and_says_what_it_waits_for() -> None:
    life = Life()
    life.serve()
    (claim,) = life.claims()
    claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(100)
    assert life.settle(100) == ["PatchStatus", "Delete NodeClaim", "Delete StatefulSet", "Delete PodDisruptionBudget"]
    name = claim["metadata"]["name"]
    assert life.conditions()["WorkspaceDeleting"] == ("True", "workspaceDeleted")
    assert life.conditions()["InferenceReady"] == ("True", "WorkspaceInferenceStatusSuccess")
    (blocker,) = life.status["blockers"]
    assert (blocker["culprit"], blocker["message"]) == (
        f"nodeclaim/{name}",
        f"NodeClaim {name} has to go first; it is held by karpenter.sh/termination",
    )
    assert life.plan(10_000).actions == ()
    life.world.drop(NODE_CLAIM.ref("", name))
    assert life.settle(101) == ["PatchRoot"]
    assert REF not in life.world.bodies


def test_deletion_ends_at_once_where_the_nodeclaim_kind_is_not_installed() -> None:
    life = Life(deletionTimestamp=at(5))
    life.world.absent.add(NODE_CLAIM)
    assert life.settle(9) == ["PatchRoot"]
    assert REF not in life.world.bodies


def test_deletion_waits_where_claims_cannot_be_listed() -> None:
    life = Life(deletionTimestamp=at(5))
    life.world.unsynced.add(NODE_CLAIM)
    assert life.settle(9) == ["PatchStatus"]
    assert life.status["blockers"][0]["reason"] == "NodeClaimsUnknown"


def test_an_uninstall_waits_for_the_deletes_and_not_for_the_machines() -> None:
    life = Life()
    life.serve()
    (claim,) = life.claims()
    claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]
    life.world.leaving.add(WORKSPACE)
    assert life.plan(100).actions == ()
    life.world.bodies[REF]["metadata"]["deletionTimestamp"] = at(100)
    done = life.settle(100)
    children = ["StatefulSet", "Service", "Service", "PodDisruptionBudget", "ControllerRevision"]
    assert done == ["Delete NodeClaim", *(f"Delete {kind}" for kind in children), "PatchRoot"]
    assert [claim["metadata"]["deletionTimestamp"] for claim in life.claims()] == [at(100)]
    assert {ref.kind for ref in life.world.bodies} == {"NodeClaim", "Node", "Pod"}


def test_an_uninstall_forgets_no_machine_that_it_cannot_see() -> None:
    life = Life(deletionTimestamp=at(5))
    life.world.leaving.add(WORKSPACE)
    life.world.unsynced.add(NODE_CLAIM)
    assert life.settle(9) == ["PatchStatus"]
    assert life.status["blockers"][0]["reason"] == "NodeClaimsUnknown"


def test_an_object_that_does_not_fit_its_model_can_be_deleted() -> None:
    life = Life(resource={"labelSelector": "no map"}, deletionTimestamp=at(5))
    assert life.settle(9) == ["PatchRoot"]


def test_an_object_that_does_not_fit_its_model_says_why_and_keeps_what_runs() -> None:
    life = Life()
    life.serve()
    before = set(life.world.bodies)
    life.world.bodies[REF]["resource"]["labelSelector"] = "no map"
    assert life.settle(50) == ["PatchStatus", "Emit Warning InvalidWorkspace"]
    assert set(life.world.bodies) == before
    assert life.conditions()["WorkspaceSucceeded"] == ("False", "workspaceFailed")
    assert "labelSelector" in life.status["blockers"][0]["message"]
    assert life.plan(5_000).actions == ()


def test_nothing_is_planned_while_a_kind_is_unknown() -> None:
    life = Life()
    life.world.unsynced.add(NODE_CLAIM)
    plan = life.plan(0)
    assert (plan.actions, plan.verdicts[0].reason) == ((), "KindNotSynced")


def test_the_target_is_decided_once() -> None:
    life = Life()
    life.settle(0)
    life.world.bodies[REF]["status"]["targetNodeCount"] = 2
    life.settle(1)
    assert (life.status["targetNodeCount"], len(life.claims())) == (2, 2)


def test_a_workspace_that_is_gone_needs_nothing() -> None:
    assert plan_workspace(World(), REF, moment(), SETTINGS) == Plan(REF)


def test_every_generation_is_observed_in_every_condition() -> None:
    life = Life()
    life.serve()
    life.world.bodies[REF]["metadata"]["generation"] = 7
    assert life.settle(60) == ["PatchStatus"]
    assert {item["observedGeneration"] for item in life.status["conditions"]} == {7}
    assert {item["lastTransitionTime"] for item in life.status["conditions"]} == {at(0)}


def test_the_server_prunes_nothing_of_what_we_write() -> None:
    life = Life()
    life.serve()
    life.world.put(node("n0", gpus=0, labels={"apps": "phi"}))
    life.settle(50)
    as_stored = WorkspaceStatus.model_validate(life.status).model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert as_stored == life.status and life.status["blockers"]


def test_what_runs_and_breaks_a_newer_rule_is_told_and_goes_on() -> None:
    """A rule that came with a later version: here, by what the annotation and the ConfigMap say now."""
    life = Life(config="c")
    life.world.put(config_map("c", inference_config__yaml="vllm: {max-model-len: 4096}"))
    life.serve(10)
    assert "SpecValid" not in life.conditions()
    life.world.bodies[REF]["metadata"]["annotations"]["kaito.sh/performance-mode"] = "fast"
    life.world.put(config_map("c", inference_config__yaml="vllm: {max-model-len: 999999999}"))
    life.settle(20)
    told = next(item for item in life.status["conditions"] if item["type"] == "SpecValid")
    assert (told["status"], told["reason"], told["lastTransitionTime"]) == ("False", "RuleBroken", at(20))
    assert "[performance-mode]" in told["message"] and "[inference-config]" in told["message"]
    assert "goes on as it is" in told["message"]
    assert life.status["state"] == "Ready" and life.conditions()["WorkspaceSucceeded"][0] == "True"
    assert life.plan(30).actions == (), "told once"
    del life.world.bodies[REF]["metadata"]["annotations"]["kaito.sh/performance-mode"]
    life.world.put(config_map("c", inference_config__yaml="vllm: {max-model-len: 4096}"))
    life.settle(40)
    assert "SpecValid" not in life.conditions()


def test_transformers_is_not_spread_over_machines() -> None:
    life = Life(preset="google/gemma-4-12B-it", instance_type="Standard_NV36ads_A10_v5", annotations=TRANSFORMERS)
    life.settle(0)
    (told,) = life.status["blockers"]
    assert told["reason"] == "ModelDoesNotFit" and "needs 2 nodes" in told["message"] and not life.claims()
    life = Life(preset="phi-3-medium-4k-instruct", instance_type="Standard_NV72ads_A10_v5", annotations=TRANSFORMERS)
    life.settle(0)
    assert life.status["targetNodeCount"] == 1


TRANSFORMERS = {"kaito.sh/runtime": "transformers"}
