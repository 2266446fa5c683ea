"""The life of a NodeClaim and its node, on virtual time."""

from __future__ import annotations

import pytest

from kaito.api.core import NODE, POD
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.local.robots.settings import RobotSettings, StageDelays, parse_fault
from tests.unit.local.robots.harness import SKU, Scene, claim, live, pod_template, ready_node

NAME = "ws0123456789"


def faulty(*texts: str) -> RobotSettings:
    return RobotSettings(faults=tuple(parse_fault(text) for text in texts), is_strict=True)


def test_a_claim_becomes_a_ready_node_that_offers_its_gpus():
    async def scenario(scene: Scene) -> None:
        node = scene.cluster.get(NODE, await ready_node(scene))
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
        assert node["status"]["capacity"]["nvidia.com/gpu"] == "1"
        assert {"cpu", "memory", "ephemeral-storage", "pods"} < set(node["status"]["allocatable"])
        labels = node["metadata"]["labels"]
        assert labels["node.kubernetes.io/instance-type"] == SKU
        assert labels["apps"] == "phi" and labels["accelerator"] == "nvidia"
        assert node["spec"]["taints"] == [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]
        assert scene.cluster.get(NODE_CLAIM, NAME)["status"]["providerID"] == node["spec"]["providerID"]

    live(scenario)


def test_stages_come_in_order_and_take_as_long_as_they_are_set_to():
    delays = StageDelays(launch_s=10, register_s=20, node_ready_s=30, device_plugin_s=40, initialize_s=5, jitter=0)

    async def scenario(scene: Scene) -> None:
        seen: dict[str, float] = {}
        await scene.make(NODE_CLAIM, claim())
        for stage in ("Launched", "Registered", "Initialized", "Ready"):
            seen[stage] = await scene.until(lambda stage=stage: scene.is_true(NODE_CLAIM, NAME, stage))
        assert list(seen.values()) == pytest.approx([10, 30, 100, 100], abs=2)

    live(scenario, RobotSettings(delays=delays, is_strict=True))


def test_a_claim_in_progress_says_that_somebody_cares_at_once():
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim())
        at_s = await scene.until(lambda: bool(scene.condition(NODE_CLAIM, NAME, "Launched")))
        assert at_s < 0.1
        assert scene.condition(NODE_CLAIM, NAME, "Launched")["reason"] == "AwaitingReconciliation"

    live(scenario)


def test_a_node_joins_with_taints_that_keep_pods_off_until_it_is_ready():
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim())
        await scene.until(lambda: bool(scene.cluster.all(NODE)))
        (node,) = scene.cluster.all(NODE)
        keys = {taint["key"] for taint in node["spec"]["taints"]}
        assert keys == {"karpenter.sh/unregistered", "node.kubernetes.io/not-ready", "local.kaito.sh/starting", "sku"}
        assert "nvidia.com/gpu" not in node["status"]["allocatable"]

    live(scenario)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("quota-exceeded", "quota"), ("capacity-exhausted", "SkuNotAvailable"), (f"quota-exceeded@{SKU}", "quota")],
)
def test_a_refused_launch_is_told_in_the_words_of_the_cloud(fault: str, words: str):
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim())
        await scene.until(lambda: scene.condition(NODE_CLAIM, NAME, "Launched").get("status") == "False")
        launched = scene.condition(NODE_CLAIM, NAME, "Launched")
        assert launched["reason"] == "LaunchFailed" and words in launched["message"]
        await scene.settle(600)
        assert scene.cluster.all(NODE) == []

    live(scenario, faulty(fault))


def test_an_instance_type_that_no_cloud_has_is_refused():
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim(instance_type="Standard_Nonsense"))
        await scene.until(lambda: scene.condition(NODE_CLAIM, NAME, "Launched").get("status") == "False")
        assert "Standard_Nonsense is invalid" in scene.condition(NODE_CLAIM, NAME, "Launched")["message"]

    live(scenario)


def test_a_fault_that_names_another_object_does_not_happen():
    live(ready_node, faulty("quota-exceeded@Standard_H*", "node-never-ready@wsffff*"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("node-never-ready", "NodeNotReady"),
        ("device-plugin-missing", "ResourceNotRegistered"),
        ("startup-taint-stays", "StartupTaintsExist"),
    ],
)
def test_what_keeps_a_node_from_being_initialized_is_named(fault: str, reason: str):
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim())
        await scene.until(lambda: scene.is_true(NODE_CLAIM, NAME, "Registered"))
        await scene.settle(120)
        found = scene.condition(NODE_CLAIM, NAME, "Initialized")
        assert (found["status"], found["reason"]) == ("Unknown", reason)

    live(scenario, faulty(fault))


def test_a_machine_that_never_joins_stays_launched():
    async def scenario(scene: Scene) -> None:
        await scene.make(NODE_CLAIM, claim())
        await scene.settle(1_200)
        assert scene.is_true(NODE_CLAIM, NAME, "Launched") and not scene.is_true(NODE_CLAIM, NAME, "Registered")

    live(scenario, faulty("node-never-registers"))


def test_a_late_device_plugin_comes_in_the_end():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        assert scene.elapsed_s > 120

    live(scenario, faulty("device-plugin-late=120s"))


def test_a_flapping_device_plugin_takes_the_gpus_away_and_brings_them_back():
    async def scenario(scene: Scene) -> None:
        name = await ready_node(scene)

        def offers(count: str) -> bool:
            return bool(scene.cluster.get(NODE, name)["status"]["allocatable"]["nvidia.com/gpu"] == count)

        for _ in range(3):
            gone_s = await scene.until(lambda: offers("0"))
            back_s = await scene.until(lambda: offers("1"))
            assert back_s - gone_s == pytest.approx(12, abs=1.5)

    live(scenario, faulty("device-plugin-flapping=60"))


def test_another_instance_type_than_asked_for_is_shown_on_the_node():
    async def scenario(scene: Scene) -> None:
        node = scene.cluster.get(NODE, await ready_node(scene))
        assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "Standard_NC6s_v3"

    live(scenario, faulty("wrong-instance-type=Standard_NC6s_v3"))


def test_a_node_that_falls_silent_becomes_unknown_and_is_tainted():
    async def scenario(scene: Scene) -> None:
        name = await ready_node(scene)
        await scene.until(lambda: scene.condition(NODE, name, "Ready").get("status") == "Unknown")
        await scene.settle(1)
        keys = {taint["key"] for taint in scene.cluster.get(NODE, name)["spec"]["taints"]}
        assert "node.kubernetes.io/not-ready" in keys
        assert not scene.is_true(NODE_CLAIM, NAME, "Ready") and scene.is_true(NODE_CLAIM, NAME, "Initialized")

    live(scenario, faulty("node-not-ready=30"))


def test_deleting_a_claim_takes_its_node_first():
    async def scenario(scene: Scene) -> None:
        node = await ready_node(scene)
        found = scene.cluster.get(NODE_CLAIM, NAME)
        await scene.cluster.delete(NODE_CLAIM, NODE_CLAIM.ref("", NAME), uid=found["metadata"]["uid"])
        await scene.until(lambda: scene.find(NODE, node) is None)
        await scene.until(lambda: scene.find(NODE_CLAIM, NAME) is None)

    live(scenario)


def test_a_machine_is_drained_before_it_goes():
    """A pod that outlives its node would stay in its deletion until somebody collects it."""

    async def scenario(scene: Scene) -> None:
        node = await ready_node(scene)
        pod = {"metadata": {"name": "a", "namespace": "default"}, "spec": pod_template(nodeName=node)["spec"]}
        await scene.make(POD, pod)
        await scene.until(lambda: scene.is_true(POD, "a", "Ready"))
        found = scene.cluster.get(NODE_CLAIM, NAME)
        await scene.cluster.delete(NODE_CLAIM, NODE_CLAIM.ref("", NAME), uid=found["metadata"]["uid"])
        gone_s = await scene.until(lambda: scene.find(POD, "a") is None)
        assert scene.find(NODE, node) is not None
        taints = {taint["key"] for taint in scene.cluster.get(NODE, node)["spec"]["taints"]}
        assert "karpenter.sh/disrupted" in taints
        assert await scene.until(lambda: scene.find(NODE, node) is None) - gone_s < 1

    live(scenario, RobotSettings(images=("*",), is_strict=True))


def test_a_settled_cluster_is_not_written_to():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.settle(60)
        writes = scene.cluster.writes
        await scene.settle(3_600)
        assert scene.cluster.writes == writes

    live(scenario)


def test_the_same_seed_lives_the_same_life():
    async def scenario(scene: Scene) -> None:
        for index in range(5):
            await scene.make(NODE_CLAIM, claim(f"ws{index:010d}"))
        await scene.settle(120)

    lives = [live(scenario, seed=7) for _ in range(2)]
    assert lives[0].all(NODE) == lives[1].all(NODE)
    assert lives[0].all(NODE_CLAIM) == lives[1].all(NODE_CLAIM)
