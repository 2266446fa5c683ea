"""Each gate, each reason: what it says of a world built for it."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.actors.roster import judge_root
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import node_claim_name
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.plan.gates import GATES
from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting
from kaito.plan.workspace import observe
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import (
    SKU,
    World,
    at,
    condition,
    config_map,
    container_status,
    moment,
    node,
    node_claim,
    pod,
    service,
    stateful_set,
    workspace,
)

REF = ObjectRef("Workspace", "default", "phi")
CLAIM = ObjectRef("NodeClaim", "", "ws1")
NODE = ObjectRef("Node", "", "n1")
POD = ObjectRef("Pod", "default", "phi-0")
DEFAULTS = PlanSettings()
BYO = PlanSettings(node_provisioner="byo")


def snapshot(*bodies: Json, now_s: float = 10, settings: PlanSettings = DEFAULTS, **ws: Any) -> Snapshot:
    world = World(workspace(**({"target": 1} | ws)), *bodies)
    found = observe(world, REF, moment(now_s), settings)
    assert found is not None
    return found


def judge(gate: str, s: Snapshot) -> Verdict | None:
    return next(item for item in GATES if item.name == gate).judge(s)


def told(verdict: Verdict | None) -> tuple[Any, ...]:
    """The parts of a verdict that a user acts on."""
    match verdict:
        case Ready():
            return ("ready", verdict.since)
        case Waiting():
            kind = "tolerated" if verdict.is_tolerated else "symptom" if verdict.is_symptom else "waiting"
            return (kind, verdict.reason, verdict.culprit, verdict.since, verdict.recheck_s)
        case Failed():
            return ("failed", verdict.reason, verdict.culprit, verdict.since, verdict.recheck_s)
        case _:
            return ()


def blocked(gate: str, culprit: ObjectRef, since_s: float, reason: str = "any", **status: Any) -> Json:
    """A status that remembers since when this gate is closed."""
    from tests.builders import at

    entry = {"gate": gate, "reason": reason, "message": "", "culprit": str(culprit), "since": at(since_s)}
    return {"blockers": [entry | {"nextStep": ""}]} | status


def launched(status: str, reason: str, message: str = "") -> list[Json]:
    return [condition("Launched", status, reason, message, since=2)]


LAUNCHED = [condition("Launched", since=1)]
REGISTERED = [*LAUNCHED, condition("Registered", since=3)]


@pytest.mark.parametrize(
    ("gate", "bodies", "expected"),
    [
        ("ClaimCreated", [], ("waiting", "NodeClaimNotReady", REF, moment(10), None)),
        ("ClaimCreated", [node_claim("ws1")], ("ready", moment(0))),
        # a claim without any condition: nobody acts on it
        ("ClaimLaunched", [], ("symptom", "AwaitingEarlierStage", REF, None, None)),
        ("ClaimLaunched", [node_claim("ws1")], ("waiting", "MachineNotLaunched", CLAIM, moment(0), 50)),
        (
            "ClaimLaunched",
            [node_claim("ws1", conditions=launched("Unknown", "AwaitingReconciliation"))],
            ("waiting", "MachineNotLaunched", CLAIM, moment(0), 290),
        ),
        (
            "ClaimLaunched",
            [node_claim("ws1", conditions=launched("False", "QuotaExceeded", "no NCads quota"))],
            ("failed", "QuotaExceeded", CLAIM, moment(2), 290),
        ),
        ("ClaimLaunched", [node_claim("ws1", conditions=launched("True", "Launched"))], ("ready", moment(2))),
        (
            "NodeRegistered",
            [node_claim("ws1", conditions=launched("True", "Launched"))],
            ("waiting", "NodeNotRegistered", CLAIM, moment(2), 890),
        ),
        ("NodeRegistered", [node_claim("ws1", conditions=REGISTERED, node="n1")], ("ready", moment(3))),
        (
            "NodeRegistered",
            [node_claim("ws1", conditions=[*LAUNCHED, condition("Registered", "Unknown", "AwaitingReconciliation")])],
            ("waiting", "NodeNotRegistered", CLAIM, moment(1), 890),
        ),
        (
            "NodeRegistered",
            [node_claim("ws1", conditions=[*LAUNCHED, condition("Registered", "Unknown", "MultipleNodesFound")])],
            ("waiting", "MultipleNodesFound", CLAIM, moment(1), 890),
        ),
        (
            "ClaimInitialized",
            [node_claim("ws1", conditions=[*REGISTERED, condition("Initialized", "Unknown", "StartupTaintsExist")])],
            ("symptom", "StartupTaintsExist", CLAIM, moment(3), None),
        ),
        ("ClaimInitialized", [node_claim("ws1", node="n1")], ("ready", moment(0))),
        # nodes
        ("NodeReady", [], ("symptom", "AwaitingEarlierStage", REF, None, None)),
        ("NodeReady", [node_claim("ws1", node="n1")], ("waiting", "NodeLost", NODE, moment(0), 290)),
        (
            "NodeReady",
            [node_claim("ws1", node="n1"), node("n1", ready="False", since=4)],
            ("waiting", "NodeNotReady", NODE, moment(4), 294),
        ),
        (
            "NodeReady",
            [node_claim("ws1", node="n1"), node("n1", ready="Unknown", since=-300)],
            ("failed", "NodeNotReady", NODE, moment(-300), None),
        ),
        ("NodeReady", [node_claim("ws1", node="n1"), node("n1", since=7)], ("ready", moment(7))),
        (
            "TaintsCleared",
            [
                node_claim("ws1", node="n1"),
                node("n1", taints=[{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]),
            ],
            ("waiting", "NodeTainted", NODE, moment(10), None),
        ),
        (
            "TaintsCleared",
            [
                node_claim("ws1", node="n1"),
                node(
                    "n1",
                    taints=[
                        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
                        {"key": "x", "effect": "PreferNoSchedule"},
                    ],
                ),
            ],
            ("ready", None),
        ),
        ("InstanceTypeMatched", [node_claim("ws1", node="n1"), node("n1", instance_type=SKU.lower())], ("ready", None)),
        (
            "InstanceTypeMatched",
            [node_claim("ws1", node="n1"), node("n1", instance_type="Standard_D4")],
            ("failed", "InstanceTypeMismatch", NODE, moment(10), None),
        ),
        # GPUs
        ("GPUAllocatable", [node_claim("ws1", node="n1"), node("n1", gpus=1)], ("ready", None)),
        (
            "GPUAllocatable",
            [node_claim("ws1", node="n1"), node("n1", gpus=None)],
            ("waiting", "DevicePluginMissing", NODE, moment(10), None),
        ),
        (
            "GPUAllocatable",
            [node_claim("ws1", node="n1"), node("n1", gpus=0)],
            ("waiting", "GPUCapacityZero", NODE, moment(10), None),
        ),
        (
            "GPUAllocatable",
            [node_claim("ws1", node="n1"), node("n1", gpus=0, capacity=1)],
            ("waiting", "GPUUnhealthy", NODE, moment(10), None),
        ),
        # workload
        ("WorkloadCreated", [], ("symptom", "AwaitingEarlierStage", REF, None, None)),
        ("WorkloadCreated", [stateful_set()], ("ready", moment(0))),
        (
            "WorkloadCreated",
            [stateful_set(ownerReferences=[])],
            ("failed", "WorkloadNameTaken", ObjectRef("StatefulSet", "default", "phi"), moment(0), None),
        ),
        (
            "WorkloadCreated",
            [service("phi-headless", ownerReferences=[])],
            ("failed", "ServiceNameTaken", ObjectRef("Service", "default", "phi-headless"), moment(0), None),
        ),
        (
            "PodScheduled",
            [stateful_set()],
            ("waiting", "PodNotCreated", ObjectRef("StatefulSet", "default", "phi"), moment(0), None),
        ),
        ("PodScheduled", [stateful_set(), pod(node="n1")], ("ready", moment(0))),
        ("PodScheduled", [stateful_set(), pod()], ("waiting", "Unschedulable", POD, moment(0), 20)),
        (
            "PodScheduled",
            [stateful_set(), pod(node="gone", ready=True, deletionTimestamp="2026-01-31T12:00:02Z")],
            ("waiting", "PodTerminating", POD, moment(2), None),
        ),
        (
            "PodScheduled",
            [stateful_set(), pod(conditions=[])],
            ("waiting", "AwaitingScheduler", POD, moment(0), None),
        ),
        ("ContainersStarted", [stateful_set(), pod()], ("symptom", "AwaitingEarlierStage", REF, None, None)),
        ("ContainersStarted", [stateful_set(), pod(node="n1")], ("waiting", "ContainerCreating", POD, moment(0), None)),
        ("ServerReady", [stateful_set(), pod(node="n1")], ("symptom", "AwaitingEarlierStage", REF, None, None)),
        (
            "ServerReady",
            [stateful_set(), pod(node="n1", statuses=[container_status(running=True)])],
            ("waiting", "ModelLoading", POD, moment(0), None),
        ),
        ("ServerReady", [stateful_set(), pod(node="n1", ready=True)], ("ready", moment(0))),
    ],
)
def test_a_gate_says(gate: str, bodies: list[Json], expected: tuple[Any, ...]) -> None:
    assert told(judge(gate, snapshot(*bodies))) == expected


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (container_status(waiting=("ErrImagePull", "not found")), "ImagePullError", "phi-0: image image: not found"),
        (
            container_status(waiting=("ImagePullBackOff", "")),
            "ImagePullError",
            "phi-0: image image: ImagePullBackOff",
        ),
        (
            container_status(waiting=("CreateContainerConfigError", 'configmap "x" not found')),
            "ContainerStartError",
            'phi-0: container phi cannot start: configmap "x" not found',
        ),
        (
            container_status(terminated={"exitCode": 137, "reason": "OOMKilled"}),
            "ContainerOOMKilled",
            "phi-0: container phi used more memory than the node or its limit allows and was killed",
        ),
        (
            container_status(
                waiting=("CrashLoopBackOff", ""), last={"exitCode": 1, "message": "\nTraceback\nValueError: no\n"}
            ),
            "ContainerCrashLoopBackOff",
            "phi-0: container phi ended with exit code 1: Traceback | ValueError: no",
        ),
        (
            container_status(running=True, last={"exitCode": 2, "message": "first crash"}, restarts=1),
            "ContainerCrashLoopBackOff",
            "phi-0: container phi ended with exit code 2: first crash",
        ),
    ],
)
def test_a_container_that_does_not_run_is_classified_with_its_words(status: Json, reason: str, words: str) -> None:
    verdict = judge("ContainersStarted", snapshot(stateful_set(), pod(node="n1", statuses=[status])))
    assert isinstance(verdict, Failed)
    assert (verdict.reason, verdict.message, verdict.culprit) == (reason, words, POD)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("The node was low on resource: ephemeral-storage.", "NodeDiskPressure"),
        ("The node was low on resource: memory.", "NodeMemoryPressure"),
        ("The node had condition: [PIDPressure].", "PodEvicted"),
    ],
)
def test_an_evicted_pod_names_the_pressure(message: str, reason: str) -> None:
    evicted = pod(node="n1", phase="Failed", status={"reason": "Evicted", "message": message})
    verdict = judge("ContainersStarted", snapshot(stateful_set(), evicted))
    assert isinstance(verdict, Failed)
    assert (verdict.reason, verdict.message) == (reason, f"phi-0: Evicted {message}")


def test_the_schedulers_own_words_are_cited_and_taken_gpus_are_named() -> None:
    words = "0/3 nodes are available: 1 Insufficient nvidia.com/gpu."
    waiting = pod(conditions=[condition("PodScheduled", "False", "Unschedulable", words, since=4)])
    verdict = judge(
        "PodScheduled", snapshot(node_claim("ws1", node="n1"), node("n1"), stateful_set(), waiting, now_s=34)
    )
    assert verdict == Failed(
        "PodScheduled",
        "Unschedulable",
        f"the scheduler says: {words}",
        POD,
        "other pods hold the GPUs: kubectl describe node n1",
        moment(4),
    )


def test_a_pod_that_any_node_may_take_sends_nobody_to_a_node_without_a_name() -> None:
    words = "no nodes available to schedule pods"
    waiting = pod(conditions=[condition("PodScheduled", "False", "Unschedulable", words, since=4)])
    verdict = judge("PodScheduled", snapshot(stateful_set(), waiting, now_s=34))
    assert isinstance(verdict, Failed) and "NODE" not in verdict.next_step
    assert verdict.next_step.endswith("kubectl get nodes; kubectl describe pod phi-0 -n default")


def test_nobody_acting_on_a_claim_is_named_after_a_minute_and_not_before() -> None:
    assert told(judge("ClaimLaunched", snapshot(node_claim("ws1"), now_s=60))) == (
        "failed",
        "NoProvisioner",
        CLAIM,
        moment(0),
        None,
    )


def test_a_restarting_device_plugin_is_tolerated_for_a_minute_and_then_named() -> None:
    world = [node_claim("ws1", node="n1"), node("n1", gpus=0)]
    passed = {"timeline": [{"stage": "GPUAllocatable", "at": "2026-01-31T12:00:00Z"}]}
    assert told(judge("GPUAllocatable", snapshot(*world, status=passed))) == (
        "tolerated",
        "GPUCapacityFlapping",
        NODE,
        moment(10),
        60,
    )
    early, late = (
        snapshot(*world, now_s=now_s, status=blocked("GPUAllocatable", NODE, 10, **passed)) for now_s in (69, 70)
    )
    assert told(judge("GPUAllocatable", early)) == ("tolerated", "GPUCapacityFlapping", NODE, moment(10), 1)
    assert told(judge("GPUAllocatable", late)) == ("waiting", "GPUCapacityZero", NODE, moment(10), None)


def test_a_gpu_count_in_no_table_is_judged_by_what_the_template_requests() -> None:
    gpus = {"limits": {"nvidia.com/gpu": 4}}
    template = {"spec": {"containers": [{"name": "a", "image": "a", "resources": gpus}]}}
    bodies = [node_claim("ws1", node="n1"), node("n1", gpus=2, instance_type="Standard_NC_new")]
    s = snapshot(*bodies, preset=None, template=template, instance_type="Standard_NC_new")
    assert told(judge("GPUAllocatable", s)) == ("failed", "GPUCountTooSmall", NODE, moment(10), None)


def test_a_node_that_serves_is_not_blocked_by_a_cordon() -> None:
    cordon = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    bodies = [node_claim("ws1", node="n1"), node("n1", taints=cordon), stateful_set()]
    assert told(judge("TaintsCleared", snapshot(*bodies)))[:2] == ("waiting", "NodeTainted")
    assert told(judge("TaintsCleared", snapshot(*bodies, pod(node="n1", ready=True)))) == ("ready", None)


def test_several_nodes_are_counted_and_the_worst_speaks() -> None:
    claims = [
        node_claim("ws1", node="n1"),
        node_claim("ws2", conditions=launched("False", "QuotaExceeded", "no quota")),
    ]
    verdict = judge("ClaimLaunched", snapshot(*claims, target=2))
    assert isinstance(verdict, Failed)
    assert (verdict.message, verdict.culprit.name) == ("1 of 2 NodeClaims launched; ws2: no quota", "ws2")


def test_the_kind_that_is_not_installed_is_named() -> None:
    world = World(workspace(target=1))
    from kaito.api.nodeclaim import NODE_CLAIM

    world.absent.add(NODE_CLAIM)
    s = observe(world, REF, moment(10), PlanSettings())
    assert s is not None
    crd = ObjectRef("CustomResourceDefinition", "", "nodeclaims.karpenter.sh")
    assert told(judge("ClaimCreated", s)) == ("failed", "NodeClaimKindAbsent", crd, moment(10), None)


def test_a_missing_config_map_is_named_before_a_machine_is_asked_for() -> None:
    s = snapshot(config="mine", target=None)
    ref = ObjectRef("ConfigMap", "default", "mine")
    assert (told(judge("NodesPlanned", s))[:3], s.target) == (("failed", "ConfigMapNotFound", ref), None)
    s = snapshot(
        config_map("mine", inference_config__yaml="vllm:\n  max-model-len: 4096\n"), config="mine", target=None
    )
    assert (told(judge("NodesPlanned", s)), s.target) == (("ready", None), 1)


def test_the_users_nodes_need_no_claims_and_are_counted_by_their_labels() -> None:
    labels = {
        "apps": "phi",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.count": "1",
        "nvidia.com/gpu.memory": "81920",
    }
    s = snapshot(node("n1", labels=labels), settings=BYO, instance_type=None)
    assert {gate.name: told(gate.judge(s))[:1] for gate in GATES[:9]} == {
        "NodesPlanned": ("ready",),
        "ClaimCreated": (),
        "ClaimLaunched": (),
        "NodeRegistered": (),
        "ClaimInitialized": (),
        "NodeReady": ("ready",),
        "TaintsCleared": ("ready",),
        "InstanceTypeMatched": (),
        "GPUAllocatable": ("ready",),
    }


NOT_READY: Json = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def not_ready(**more: Any) -> list[Json]:
    """A node that joined and is not Ready: tainted, and without a device plugin."""
    return [node_claim("ws1", node="n1"), node("n1", gpus=None, ready="False", taints=[NOT_READY], **more)]


@pytest.mark.parametrize("gate", ["TaintsCleared", "GPUAllocatable"])
def test_what_a_node_that_is_not_ready_brings_with_it_is_no_cause(gate: str) -> None:
    assert told(judge(gate, snapshot(*not_ready()))) == ("symptom", "AwaitingEarlierStage", REF, None, None)
    assert told(judge("NodeReady", snapshot(*not_ready())))[:2] == ("waiting", "NodeNotReady")


def test_a_cordon_is_the_users_own_doing_whatever_else_the_node_lacks() -> None:
    claim, body = not_ready()
    body["spec"]["unschedulable"] = True
    verdict = judge("TaintsCleared", snapshot(claim, body))
    assert told(verdict)[:3] == ("waiting", "NodeTainted", NODE)
    assert isinstance(verdict, Waiting) and verdict.next_step == "kubectl uncordon n1"


def test_a_server_on_a_node_that_is_lost_or_after_a_crash_is_not_said_to_load() -> None:
    running = pod(node="n1", statuses=[container_status(running=True)])
    assert told(judge("ServerReady", snapshot(stateful_set(), *not_ready(), running)))[:2] == (
        "symptom",
        "AwaitingEarlierStage",
    )
    crashed = container_status(running=True, last={"exitCode": 1, "reason": "Error"}, restarts=1)
    verdict = judge("ServerReady", snapshot(stateful_set(), pod(node="n1", statuses=[crashed])))
    assert told(verdict)[:2] == ("symptom", "AwaitingEarlierStage")


def test_without_a_matching_node_the_labels_are_named() -> None:
    verdict = judge("NodeReady", snapshot(settings=BYO, instance_type=None))
    assert isinstance(verdict, Failed)
    assert verdict.message == "no node carries the labels apps=phi of resource.labelSelector"


def test_a_node_whose_event_is_late_is_no_news_and_one_that_was_ready_is_lost() -> None:
    claim = node_claim("ws1", node="n1")
    assert told(judge("NodeReady", snapshot(claim, now_s=1))) == ("symptom", "AwaitingEarlierStage", REF, None, 9)
    passed = {"timeline": [{"stage": "NodeReady", "at": "2026-01-31T12:00:00Z"}]}
    assert told(judge("NodeReady", snapshot(claim, now_s=5_000, status=passed))) == (
        "waiting",
        "NodeLost",
        NODE,
        moment(5_000),
        300,
    )
    told_already = blocked("NodeReady", NODE, 4_999, "NodeLost")
    assert told(judge("NodeReady", snapshot(claim, now_s=5_000, status=told_already)))[1] == "NodeLost"


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ({"mode": "accelerator", "count": 1}, ("ready", "nvidia.com/gpu", 1)),
        ({"mode": "mig", "profile": "3g.40gb"}, ("ready", "nvidia.com/mig-3g.40gb", 1)),
        ({"mode": "accelerator", "count": 3}, ("failed", "nvidia.com/gpu", 0)),
        ({"mode": "mig", "profile": "half"}, ("failed", "nvidia.com/gpu", 0)),
    ],
)
def test_a_part_of_the_users_node_is_what_pods_request(partition: Json, expected: tuple[str, str, int]) -> None:
    labels = {
        "apps": "phi",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.count": "2",
        "nvidia.com/gpu.memory": "81920",
    }
    s = snapshot(node("n1", labels=labels), settings=BYO, instance_type=None, resource={"partition": partition})
    assert (told(judge("NodesPlanned", s))[0], s.gpu_resource, s.gpus_per_pod) == expected


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"preset": "phi-35-mini"}, "inference.preset.name: 'phi-35-mini': is not in the catalogue"),
        ({"instance_type": "Standard_X"}, "resource.instanceType: 'Standard_X' is not known on azure"),
        ({"preset": None}, "inference: neither preset nor template is given"),
        (
            {"inference": {"adapters": [{"source": {"name": "a"}}]}},
            "inference.adapters[0].source: 'a': expected a name and one of image and volumeSource",
        ),
        (
            {"annotations": {"kaito.sh/container-resources": '{"limits": {"nvidia.com/gpu": "2"}}'}},
            "metadata.annotations[kaito.sh/container-resources]: limits.nvidia.com/gpu: only cpu",
        ),
        ({"name": "9lives"}, "metadata.name: '9lives': cannot name a Service"),
        ({"name": "a" * 53}, ": 53 characters, of which pods allow 52"),
        (
            {"preset": "deepseek-ai/DeepSeek-V4-Pro", "instance_type": "Standard_NV36ads_A10_v5", "config": "huge"},
            "does not fit",
        ),
    ],
)
def test_what_makes_no_sense_asks_for_no_machine_and_is_named(more: Any, words: str) -> None:
    huge = config_map("huge", inference_config__yaml="vllm:\n  max-model-len: 1000000\n")
    world = World(workspace(**more), huge)
    ref = ObjectRef("Workspace", "default", more.get("name", "phi"))
    s = observe(world, ref, moment(10), DEFAULTS)
    assert s is not None and s.target is None
    verdict = judge("NodesPlanned", s)
    assert isinstance(verdict, Failed) and words in verdict.message and verdict.next_step


def test_a_claim_that_the_server_refuses_is_told_in_its_words_until_it_takes_it() -> None:
    name = node_claim_name("default", "phi", 0)
    ref, key = NODE_CLAIM.ref("", name), (REF, f"refused/NodeClaim/{name}")
    world = World(workspace())

    def told() -> tuple[str, str]:
        verdict = next(
            each for each in judge_root(world, REF, moment(60), PlanSettings()) if each.gate == "ClaimCreated"
        )
        assert not isinstance(verdict, Ready)
        return verdict.reason, verdict.message

    assert told()[0] == "NodeClaimNotReady"
    world.answers[key] = Answer("exceeded quota: gpus", moment(5))
    assert told() == ("Refused", f"the API server refuses NodeClaim {name}: exceeded quota: gpus")
    world.answers[key] = Answer("", moment(6))
    assert told()[0] == "NodeClaimNotReady"
    # `kaito explain` has written nothing itself: it finds the refusal in the status.
    del world.answers[key]
    blocker = {"gate": "ClaimCreated", "reason": "Refused", "culprit": str(ref), "message": "m", "since": at(5)}
    world.put(workspace(status={"blockers": [blocker]}))
    assert told() == ("Refused", "m")
