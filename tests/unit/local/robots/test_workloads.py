"""StatefulSets, Deployments and Jobs from template to pods and back, on virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from kaito.api.core import ENDPOINTS, NODE, POD, SERVICE
from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import CONTROLLER_REVISION, DEPLOYMENT, JOB, REPLICA_SET, STATEFUL_SET
from kaito.local.robots.settings import RobotSettings, parse_fault
from tests.unit.local.robots.harness import Scene, claim, live, pod_template, ready_node

BIG = "Standard_ND96asr_A100_v4"


def stateful_set(replicas: int = 1, *, gpus: int = 1, policy: str = "Parallel", **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "phi", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": "phi-headless",
            "podManagementPolicy": policy,
            "selector": {"matchLabels": {"app": "server"}},
            "template": pod_template(gpus),
        }
        | spec,
    }


def pod_names(scene: Scene) -> list[str]:
    return [pod["metadata"]["name"] for pod in scene.cluster.all(POD)]


def are_ready(scene: Scene, count: int) -> bool:
    status = (scene.find(STATEFUL_SET, "phi") or {}).get("status") or {}
    return status.get("readyReplicas") == count


async def deployed(scene: Scene, replicas: int = 1, **more: Any) -> None:
    await ready_node(scene, instance_type=BIG)
    await scene.make(STATEFUL_SET, stateful_set(replicas, **more))
    await scene.until(lambda: are_ready(scene, replicas))


def test_a_stateful_set_has_ready_pods_by_ordinal():
    async def scenario(scene: Scene) -> None:
        await deployed(scene, 3)
        assert pod_names(scene) == ["phi-0", "phi-1", "phi-2"]
        pod = scene.cluster.get(POD, "phi-1")
        assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
        assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "phi-1"
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("phi-1", "phi-headless")
        assert pod["status"]["phase"] == "Running" and pod["status"]["podIP"]
        assert pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        status = scene.cluster.get(STATEFUL_SET, "phi")["status"]
        assert (status["observedGeneration"], status["replicas"], status["updatedReplicas"]) == (1, 3, 3)

    live(scenario)


def test_pods_before_1_28_have_no_index_label():
    async def scenario(scene: Scene) -> None:
        await deployed(scene)
        assert "apps.kubernetes.io/pod-index" not in scene.cluster.get(POD, "phi-0")["metadata"]["labels"]

    live(scenario, RobotSettings(cluster_minor=20, is_strict=True))


def test_ordered_ready_starts_a_pod_when_the_one_before_is_ready():
    async def scenario(scene: Scene) -> None:
        await deployed(scene, 3, policy="OrderedReady")
        pods = [scene.cluster.get(POD, f"phi-{ordinal}") for ordinal in range(3)]
        for before, after in pairwise(pods):
            ready = next(item for item in before["status"]["conditions"] if item["type"] == "Ready")
            assert after["metadata"]["creationTimestamp"] >= ready["lastTransitionTime"]

    live(scenario)


def test_a_deleted_pod_comes_back():
    async def scenario(scene: Scene) -> None:
        await deployed(scene)
        uid = scene.cluster.get(POD, "phi-0")["metadata"]["uid"]
        await scene.cluster.delete(POD, POD.ref("default", "phi-0"), uid=uid)
        await scene.until(lambda: are_ready(scene, 0))
        await scene.until(lambda: are_ready(scene, 1))
        assert scene.cluster.get(POD, "phi-0")["metadata"]["uid"] != uid

    live(scenario)


def test_scaling_down_removes_the_highest_ordinals():
    async def scenario(scene: Scene) -> None:
        await deployed(scene, 4)
        await scene.cluster.edit(STATEFUL_SET, "phi", {"spec": {"replicas": 2}})
        await scene.until(lambda: pod_names(scene) == ["phi-0", "phi-1"])

    live(scenario)


def test_a_changed_template_rolls_from_the_highest_ordinal_one_at_a_time():
    async def scenario(scene: Scene) -> None:
        await deployed(scene, 3)
        old = scene.cluster.get(STATEFUL_SET, "phi")["status"]["currentRevision"]
        template = pod_template(1, nodeSelector={"kubernetes.io/os": "linux"})
        await scene.cluster.edit(STATEFUL_SET, "phi", {"spec": {"template": template}})
        fewest = 3

        def is_rolled() -> bool:
            nonlocal fewest
            status = scene.cluster.get(STATEFUL_SET, "phi")["status"]
            fewest = min(fewest, status["readyReplicas"])
            return bool(status["currentRevision"] != old and status["readyReplicas"] == 3)

        await scene.until(is_rolled)
        made = [ref.name for ref in scene.cluster.creates if ref.kind == "Pod"]
        assert made == ["phi-0", "phi-1", "phi-2", "phi-2", "phi-1", "phi-0"]
        assert fewest == 2
        assert len(scene.cluster.all(CONTROLLER_REVISION)) == 2

    live(scenario)


def test_a_pod_on_a_node_that_vanished_moves_to_another():
    async def scenario(scene: Scene) -> None:
        first = await ready_node(scene)
        await scene.make(STATEFUL_SET, stateful_set())
        await scene.until(lambda: are_ready(scene, 1))
        second = await ready_node(scene, "wsffffffffff")
        found = scene.cluster.all(NODE_CLAIM)[0]
        await scene.cluster.delete(
            NODE_CLAIM, NODE_CLAIM.ref("", found["metadata"]["name"]), uid=found["metadata"]["uid"]
        )
        await scene.until(lambda: scene.find(NODE, first) is None)
        await scene.until(lambda: (scene.find(POD, "phi-0") or {"spec": {}})["spec"].get("nodeName") == second)
        await scene.until(lambda: are_ready(scene, 1))

    live(scenario)


def test_what_does_not_fit_is_told_in_the_words_of_the_scheduler():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(STATEFUL_SET, stateful_set(gpus=2))
        await scene.until(lambda: scene.condition(POD, "phi-0", "PodScheduled").get("status") == "False")
        found = scene.condition(POD, "phi-0", "PodScheduled")
        assert found["reason"] == "Unschedulable"
        assert found["message"].startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        await scene.settle(1)
        assert scene.events("FailedScheduling") == [found["message"]]

    live(scenario)


def test_a_pod_that_waits_for_gpus_is_placed_when_they_come():
    async def scenario(scene: Scene) -> None:
        await scene.make(STATEFUL_SET, stateful_set())
        await scene.until(lambda: scene.condition(POD, "phi-0", "PodScheduled").get("status") == "False")
        assert scene.condition(POD, "phi-0", "PodScheduled")["message"] == "no nodes available to schedule pods"
        await scene.make(NODE_CLAIM, claim())
        await scene.until(lambda: are_ready(scene, 1))

    live(scenario)


def test_two_pods_never_share_a_gpu():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene, instance_type=BIG)
        await scene.make(STATEFUL_SET, stateful_set(12))
        await scene.until(lambda: are_ready(scene, 8))
        await scene.settle()
        assert are_ready(scene, 8)

    live(scenario)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("image-pull-error", "ImagePullBackOff"),
        ("server-crash-loop", "CrashLoopBackOff"),
        ("server-out-of-memory", "CrashLoopBackOff"),
    ],
)
def test_a_container_that_does_not_run_says_why(fault: str, reason: str):
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(STATEFUL_SET, stateful_set())

        def status() -> Json:
            statuses = ((scene.find(POD, "phi-0") or {}).get("status") or {}).get("containerStatuses") or [{}]
            return dict(statuses[0])

        await scene.until(lambda: (status().get("state") or {}).get("waiting", {}).get("reason") == reason)
        if fault == "server-crash-loop":
            assert status()["lastState"]["terminated"]["exitCode"] == 1
            await scene.until(lambda: status().get("restartCount") == 4)
        if fault == "server-out-of-memory":
            assert status()["lastState"]["terminated"]["reason"] == "OOMKilled"

    live(scenario, RobotSettings(faults=(parse_fault(fault),), is_strict=True))


def test_a_missing_config_map_keeps_the_container_from_being_created():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        volume = {"name": "config", "configMap": {"name": "params"}}
        await scene.make(STATEFUL_SET, stateful_set(template=pod_template(1, volumes=[volume])))
        await scene.until(lambda: bool((scene.find(POD, "phi-0") or {"status": {}})["status"].get("containerStatuses")))
        waiting = scene.cluster.get(POD, "phi-0")["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "params" not found'}

    live(scenario)


def test_a_service_has_the_addresses_of_its_pods():
    async def scenario(scene: Scene) -> None:
        service = {
            "metadata": {"name": "phi", "namespace": "default"},
            "spec": {"selector": {"app": "server"}, "ports": [{"name": "http", "port": 80, "targetPort": 5000}]},
        }
        await scene.make(SERVICE, service)
        await deployed(scene, 2)
        await scene.settle(1)
        (subset,) = scene.cluster.get(ENDPOINTS, "phi")["subsets"]
        assert [address["targetRef"]["name"] for address in subset["addresses"]] == ["phi-0", "phi-1"]
        assert subset["ports"] == [{"name": "http", "port": 5000, "protocol": "TCP"}]
        await scene.cluster.edit(STATEFUL_SET, "phi", {"spec": {"replicas": 0}})
        await scene.until(lambda: "subsets" not in scene.cluster.get(ENDPOINTS, "phi"))

    live(scenario)


def deployment(replicas: int, **spec: Any) -> Json:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "server"}}, "template": pod_template()}
        | spec,
    }


def test_a_deployment_rolls_over_without_losing_more_than_it_may():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene, instance_type=BIG)
        await scene.make(DEPLOYMENT, deployment(4))
        await scene.until(lambda: scene.cluster.get(DEPLOYMENT, "web")["status"].get("availableReplicas") == 4)
        fewest, most = 4, 4

        def is_rolled() -> bool:
            nonlocal fewest, most
            status = scene.cluster.get(DEPLOYMENT, "web")["status"]
            fewest, most = min(fewest, status["availableReplicas"]), max(most, len(scene.cluster.all(POD)))
            return bool(
                status["observedGeneration"] == 2
                and status["updatedReplicas"] == 4 == status["replicas"]
                and status["availableReplicas"] == 4
            )

        template = pod_template(1, nodeSelector={"kubernetes.io/os": "linux"})
        await scene.cluster.edit(DEPLOYMENT, "web", {"spec": {"template": template}})
        await scene.until(is_rolled)
        assert fewest >= 3
        assert sorted(item["spec"]["replicas"] for item in scene.cluster.all(REPLICA_SET)) == [0, 4]
        assert scene.is_true(DEPLOYMENT, "web", "Available")

    live(scenario)


def test_a_recreated_deployment_starts_when_the_old_pods_are_gone():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene, instance_type=BIG)
        await scene.make(DEPLOYMENT, deployment(2, strategy={"type": "Recreate"}))
        await scene.until(lambda: scene.cluster.get(DEPLOYMENT, "web")["status"].get("availableReplicas") == 2)
        template = pod_template(1, nodeSelector={"kubernetes.io/os": "linux"})
        await scene.cluster.edit(DEPLOYMENT, "web", {"spec": {"template": template}})
        await scene.until(
            lambda: (
                scene.cluster.get(DEPLOYMENT, "web")["status"].get("availableReplicas") is None
                or scene.cluster.get(DEPLOYMENT, "web")["status"]["availableReplicas"] == 0
            )
        )
        await scene.until(lambda: scene.cluster.get(DEPLOYMENT, "web")["status"]["availableReplicas"] == 2)

    live(scenario)


def job(**spec: Any) -> Json:
    return {
        "metadata": {"name": "tune", "namespace": "default"},
        "spec": {"template": pod_template(1, restartPolicy="Never")} | spec,
    }


def test_a_job_completes():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(JOB, job())
        await scene.until(lambda: scene.is_true(JOB, "tune", "Complete"))
        status = scene.cluster.get(JOB, "tune")["status"]
        assert status["succeeded"] == 1 and "active" not in status and status["completionTime"]

    live(scenario)


def test_a_job_fails_when_too_many_of_its_pods_have():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(JOB, job(backoffLimit=2))
        await scene.until(lambda: scene.is_true(JOB, "tune", "Failed"))
        assert scene.condition(JOB, "tune", "Failed")["reason"] == "BackoffLimitExceeded"
        assert scene.cluster.get(JOB, "tune")["status"]["failed"] == 3

    live(scenario, RobotSettings(faults=(parse_fault("server-crash-loop"),), is_strict=True))


def test_pods_on_a_node_that_falls_silent_are_not_ready():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(STATEFUL_SET, stateful_set())
        await scene.until(lambda: are_ready(scene, 1))
        await scene.until(lambda: are_ready(scene, 0))
        assert scene.condition(POD, "phi-0", "Ready")["reason"] == "NodeNotReady"

    live(scenario, RobotSettings(faults=(parse_fault("node-not-ready=60"),), is_strict=True))


def test_a_pod_that_is_never_ready_stays_running():
    async def scenario(scene: Scene) -> None:
        await ready_node(scene)
        await scene.make(STATEFUL_SET, stateful_set())
        await scene.settle(300)
        assert are_ready(scene, 0) and scene.cluster.get(POD, "phi-0")["status"]["phase"] == "Running"

    live(scenario, RobotSettings(faults=(parse_fault("server-never-ready"),), is_strict=True))


def test_the_same_seed_replays_every_event():
    async def scenario(scene: Scene) -> None:
        for index in range(3):
            await scene.make(NODE_CLAIM, claim(f"ws{index:010d}"))
        await scene.make(STATEFUL_SET, stateful_set(2))
        await scene.make(DEPLOYMENT, deployment(2))
        await scene.make(JOB, job())
        await scene.settle(120)

    faults = (parse_fault("server-crash-loop@web-*"), parse_fault("device-plugin-flapping=20@ws0000000001"))
    lives = [live(scenario, RobotSettings(faults=faults, is_strict=True), seed=seed) for seed in (3, 3, 4)]
    assert lives[0].commits == lives[1].commits != lives[2].commits
