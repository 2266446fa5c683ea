"""The objects that we ask for: whole shapes, and the schemas of every Kubernetes that publishes one."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from kaito.api.meta import Json, ObjectRef
from kaito.api.names import LOCAL_DISK_CLASS
from kaito.plan.actions import Apply, Create
from kaito.plan.desired.template_workload import requested_devices
from kaito.plan.pods.probes import startup_failures
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from tests.builders import World, moment, node, node_claim, workspace

REF = ObjectRef("Workspace", "default", "phi")
OWNER = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "name": "phi",
    "uid": "uid-default-phi",
    "controller": True,
    "blockOwnerDeletion": True,
}
TEMPLATE: Json = {
    "metadata": {"labels": {"app": "mine"}, "creationTimestamp": None},
    "spec": {
        "containers": [
            {
                "name": "server",
                "image": "mine:1",
                "ports": [{"containerPort": 5000}],
                "resources": {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}},
            }
        ],
        "tolerations": [{"key": "mine", "operator": "Exists"}],
    },
}
DEFAULTS = PlanSettings()


def children(
    *, nodes: int = 1, version: tuple[int, int] = (1, 36), settings: PlanSettings = DEFAULTS, **ws: Any
) -> Any:
    """What is created for a Workspace whose nodes are ready, by kind and name."""
    plan = plan_workspace(live(nodes=nodes, version=version, **ws), REF, moment(10), settings)
    return {(a.kind.kind, a.ref.name): a.body for a in plan.actions if isinstance(a, Create)}


def live(
    *,
    nodes: int = 1,
    version: tuple[int, int] = (1, 36),
    existing: Json | None = None,
    local_disk: bool = False,
    **ws: Any,
) -> World:
    """A Workspace whose nodes are ready; `existing` is its StatefulSet."""
    world = World(workspace(**({"target": nodes} | ws)), version=version)
    if existing is not None:
        world.put(existing | {"metadata": existing["metadata"] | {"uid": "uid-made"}})
    if local_disk:
        world.put({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": LOCAL_DISK_CLASS}})
    labels = {"apps": "phi"}
    for index in range(nodes):
        name = f"n{index}"
        kind = ws.get("instance_type", "Standard_NC24ads_A100_v4")
        world.put(node_claim(f"ws{index}", node=name), node(name, labels=labels, gpus=8, instance_type=kind))
    return world


def stamped(body: Json) -> str:
    return body["metadata"]["annotations"].pop("kaito.sh/desired-hash")


@pytest.mark.parametrize(
    ("cloud", "node_class", "requirements"),
    [
        (
            "azure",
            {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"},
            [{"key": "karpenter.azure.com/sku-name", "operator": "In", "values": ["Standard_NC24ads_A100_v4"]}],
        ),
        (
            "aws",
            {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
            [{"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "Gt", "values": ["0"]}],
        ),
        ("arc", {"group": "", "kind": "", "name": "default"}, []),
    ],
)
def test_a_claim_has_the_shape_that_provisioners_expect(cloud: Any, node_class: Json, requirements: list[Json]) -> None:
    settings = PlanSettings(cloud_provider=cloud)
    body = workspace(
        preset=None,
        template=TEMPLATE,
        match_labels={"apps": "phi", "kaito.sh/workspace": "evil"},
        annotations={"kaito.sh/node-image-family": "AzureLinux"},
    )
    plan = plan_workspace(World(body), REF, moment(), settings)
    (create,) = (a for a in plan.actions if isinstance(a, Create) and a.kind.kind == "NodeClaim")
    name = create.body["metadata"].pop("name")
    assert create.body == {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "labels": {
                "apps": "phi",
                "karpenter.sh/nodepool": "kaito",
                "kaito.sh/workspace": "phi",
                "kaito.sh/workspacenamespace": "default",
            },
            "annotations": {
                "karpenter.sh/do-not-disrupt": "true",
                "kaito.sh/node-image-family": "azurelinux",
                "kaito.sh/workspace-uid": "uid-default-phi",
            },
        },
        "spec": {
            "nodeClassRef": node_class,
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "requirements": [
                {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["kaito"]},
                {
                    "key": "node.kubernetes.io/instance-type",
                    "operator": "In",
                    "values": ["Standard_NC24ads_A100_v4"],
                },
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                *requirements,
            ],
            "resources": {"requests": {"storage": "1024Gi"}},
        },
    }
    assert len(name) == 12 and name.startswith("ws") and name.isalnum()


def test_the_service_reaches_the_leader_and_the_headless_one_names_all() -> None:
    made = children()
    front, headless = made["Service", "phi"], made["Service", "phi-headless"]
    assert len(stamped(front)) == len(stamped(headless)) == 64
    metadata = {
        "namespace": "default",
        "labels": {"kaito.sh/workspace": "phi"},
        "annotations": {"kaito.sh/workspace-uid": "uid-default-phi"},
        "ownerReferences": [OWNER],
    }
    assert front == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata | {"name": "phi"},
        "spec": {
            "type": "ClusterIP",
            "selector": {"kaito.sh/workspace": "phi", "statefulset.kubernetes.io/pod-name": "phi-0"},
            "publishNotReadyAddresses": True,
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 5000},
                {"name": "ray", "protocol": "TCP", "port": 6379, "targetPort": 6379},
                {"name": "dashboard", "protocol": "TCP", "port": 8265, "targetPort": 8265},
                {"name": "kv-events", "protocol": "TCP", "port": 5557, "targetPort": 5557},
            ],
        },
    }
    assert headless == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata | {"name": "phi-headless"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": {"kaito.sh/workspace": "phi"},
            "publishNotReadyAddresses": True,
        },
    }


def test_a_load_balancer_does_not_publish_the_kv_events() -> None:
    spec = children(annotations={"kaito.sh/enablelb": "True"})["Service", "phi"]["spec"]
    assert (spec["type"], [port["name"] for port in spec["ports"]]) == ("LoadBalancer", ["http", "ray", "dashboard"])


def test_the_workload_of_the_quick_start() -> None:
    body = children()["StatefulSet", "phi"]
    assert len(stamped(body)) == 64
    marks = body["metadata"]["annotations"]
    assert len(marks.pop("kaito.sh/made-for")) == 16 and marks.pop("kaito.sh/made-as")
    labels = {"kaito.sh/workspace": "phi"}
    pins = {"apps": "phi", "kaito.sh/workspace": "phi", "kaito.sh/workspacenamespace": "default"}
    assert body == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "phi",
            "namespace": "default",
            "labels": labels,
            "annotations": {"kaito.sh/workspace-uid": "uid-default-phi"},
            "ownerReferences": [OWNER],
        },
        "spec": {
            "replicas": 1,
            "serviceName": "phi-headless",
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Delete"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "runAsGroup": 1000,
                        "fsGroup": 1000,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {
                                        "matchExpressions": [
                                            {"key": key, "operator": "In", "values": [value]}
                                            for key, value in sorted(pins.items())
                                        ]
                                    }
                                ]
                            }
                        }
                    },
                    "tolerations": [
                        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                        {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
                        {
                            "key": "kubernetes.azure.com/scalesetpriority",
                            "operator": "Equal",
                            "value": "spot",
                            "effect": "NoSchedule",
                        },
                    ],
                    "containers": [
                        {
                            "name": "phi",
                            "image": DEFAULTS.inference_image,
                            "command": [
                                "python",
                                "-m",
                                "kaito.inference",
                                "--engine=auto",
                                "--model=microsoft/Phi-3.5-mini-instruct",
                                "--served-model-name=phi-3.5-mini-instruct",
                                "--port=5000",
                                "--download-dir=/workspace/weights",
                                "--trust-remote-code",
                                "--dtype=bfloat16",
                                "--max-model-len=auto",
                                "--gpu-memory-utilization=0.84",
                                "--tensor-parallel-size=1",
                                '--kv-events-config={"enable_kv_cache_events":true}',
                                "--compilation-config.pass_config.fuse_allreduce_rms=False",
                                "--kaito-benchmark",
                            ],
                            "env": [
                                {"name": "VLLM_USE_FLASHINFER_SAMPLER", "value": "0"},
                                {"name": "VLLM_USE_DEEP_GEMM", "value": "0"},
                                {"name": "HOME", "value": "/tmp"},
                            ],
                            "ports": [
                                {"name": "http", "containerPort": 5000, "protocol": "TCP"},
                                {"name": "kv-events", "containerPort": 5557, "protocol": "TCP"},
                            ],
                            "resources": {
                                "requests": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
                                "limits": {"nvidia.com/gpu": "1"},
                            },
                            "volumeMounts": [
                                {"name": "model-weights-volume", "mountPath": "/workspace/weights"},
                                {"name": "dshm", "mountPath": "/dev/shm"},
                                {"name": "scratch", "mountPath": "/tmp"},
                            ],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "startupProbe": {
                                "httpGet": {"path": "/ready", "port": 5000, "scheme": "HTTP"},
                                "periodSeconds": 10,
                                "failureThreshold": 180,
                            },
                            "livenessProbe": {
                                "httpGet": {"path": "/health", "port": 5000, "scheme": "HTTP"},
                                "periodSeconds": 10,
                                "failureThreshold": 3,
                            },
                            "readinessProbe": {
                                "httpGet": {"path": "/ready", "port": 5000, "scheme": "HTTP"},
                                "periodSeconds": 10,
                            },
                        }
                    ],
                    "volumes": [
                        {"name": "model-weights-volume", "emptyDir": {}},
                        {"name": "dshm", "emptyDir": {"medium": "Memory"}},
                        {"name": "scratch", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def container(**ws: Any) -> Json:
    return children(**ws)["StatefulSet", "phi"]["spec"]["template"]["spec"]["containers"][0]


def test_several_gpus_of_one_node_share_a_large_model_and_copy_a_small_one() -> None:
    large = container(preset="meta-llama/Llama-3.3-70B-Instruct", instance_type="Standard_NC96ads_A100_v4")
    small = container(instance_type="Standard_NC96ads_A100_v4")
    flags = ("--tensor", "--data", "--pipeline", "--kaito-kv")
    assert [flag for flag in large["command"] if flag.startswith(flags)] == ["--tensor-parallel-size=4"]
    assert [flag for flag in small["command"] if flag.startswith(flags)] == [
        "--tensor-parallel-size=1",
        "--data-parallel-size=4",
        "--kaito-kv-cache-cpu-memory-utilization=0",
    ]
    assert large["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_several_nodes_form_a_ray_cluster_and_are_probed_by_their_part_in_it() -> None:
    made = children(nodes=2, preset="deepseek-ai/DeepSeek-R1-0528", instance_type="Standard_ND96asr_A100_v4")
    spec = made["StatefulSet", "phi"]["spec"]
    (pod,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 2
    assert pod["command"][:2] == ["/bin/sh", "-c"]
    assert "ray start --head --port=6379" in pod["command"][2]
    assert "--address=phi-0.phi-headless.default.svc.cluster.local:6379" in pod["command"][2]
    assert pod["command"][3:7] == ["kaito-inference", "python", "-m", "kaito.inference"]
    assert {"--tensor-parallel-size=8", "--pipeline-parallel-size=2", "--distributed-executor-backend=ray"} <= set(
        pod["command"]
    )
    assert "POD_NAME" in [variable["name"] for variable in pod["env"]]
    assert pod["livenessProbe"]["terminationGracePeriodSeconds"] == 1
    assert "exec" in pod["readinessProbe"] and pod["startupProbe"]["failureThreshold"] == 1080


def test_a_config_map_is_mounted_and_passed_and_the_token_comes_from_the_secret() -> None:
    options = {"preset": {"name": "phi-3.5-mini-instruct", "presetOptions": {"modelAccessSecret": "hub"}}}
    made = children(config="mine", inference=options)["StatefulSet", "phi"]["spec"]["template"]["spec"]
    (pod,) = made["containers"]
    assert "--kaito-config-file=/mnt/config/inference_config.yaml" in pod["command"]
    assert pod["volumeMounts"][-1] == {"name": "config-volume", "mountPath": "/mnt/config", "readOnly": True}
    assert made["volumes"][-1] == {"name": "config-volume", "configMap": {"name": "mine"}}
    assert {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN", "optional": True}},
    } in pod["env"]


def test_an_adapter_is_mounted_from_its_volume_and_lora_is_on() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "tuned"}}
    inference = {"adapters": [{"source": {"name": "mine.v1", "volumeSource": claim}}]}
    made = children(inference=inference)["StatefulSet", "phi"]["spec"]["template"]["spec"]
    (pod,) = made["containers"]
    assert {"--enable-lora", "--kaito-adapters-dir=/mnt/adapter"} <= set(pod["command"])
    volume = "adapter-volume-mine-v1"
    assert pod["volumeMounts"][-1] == {"name": volume, "mountPath": "/mnt/adapter/mine.v1", "readOnly": True}
    assert made["volumes"][-1] == {"name": volume, **claim}


def test_annotations_choose_engine_and_performance_mode() -> None:
    made = container(annotations={"kaito.sh/runtime": "transformers", "kaito.sh/performance-mode": "throughput"})
    assert {"--engine=transformers", "--performance-mode=throughput"} <= set(made["command"])


def test_a_template_keeps_what_is_the_users_and_gets_what_is_ours() -> None:
    made = children(preset=None, template=TEMPLATE)["StatefulSet", "phi"]["spec"]["template"]
    assert made["metadata"] == {"labels": {"app": "mine", "kaito.sh/workspace": "phi"}}
    assert made["spec"]["containers"] == [
        TEMPLATE["spec"]["containers"][0] | {"ports": [{"containerPort": 5000, "protocol": "TCP"}]}
    ]
    assert [entry["key"] for entry in made["spec"]["tolerations"]] == [
        "mine",
        "nvidia.com/gpu",
        "sku",
        "kubernetes.azure.com/scalesetpriority",
    ]
    assert "nodeAffinity" in made["spec"]["affinity"]
    assert requested_devices(TEMPLATE, "nvidia.com/gpu") == 1


@pytest.mark.parametrize(("weights_gib", "failures"), [(7.12, 180), (61.03, 200), (131.42, 327), (805.34, 1080)])
def test_a_start_may_take_as_long_as_the_weights_are_heavy(weights_gib: float, failures: int) -> None:
    assert startup_failures(weights_gib) == failures


ADAPTER_IMAGE: Json = {"name": "mine.v1", "image": "registry/adapter:1", "imagePullSecrets": ["pull"]}
OPTIONS: Json = {"image": "registry/phi-weights:2", "imagePullSecrets": ["pull"]}
PRIVATE: Json = {"name": "phi-4", "accessMode": "private", "presetOptions": OPTIONS}
RESOURCES = '{"requests": {"cpu": "8"}, "limits": {"memory": "64Gi"}}'


def pod_of(**ws: Any) -> Json:
    return children(**ws)["StatefulSet", "phi"]["spec"]["template"]["spec"]


def test_an_adapter_from_an_image_is_pulled_with_its_secrets_into_a_folder_of_its_name() -> None:
    spec = pod_of(**VARIANTS["adapter from an image"])
    (puller,), (server,) = spec["initContainers"], spec["containers"]
    assert puller["image"] == server["image"]  # the node has it anyway
    assert puller["command"] == [
        "python",
        "-m",
        "kaito.oci",
        "pull",
        "--image=registry/adapter:1",
        "--into=/mnt/adapter/mine.v1",
        "--path=data",
        "--auth-dir=/mnt/registry-auth",
    ]
    volume = "adapter-volume-mine-v1"
    assert {"name": volume, "mountPath": "/mnt/adapter/mine.v1", "readOnly": True} in server["volumeMounts"]
    assert {"name": volume, "mountPath": "/mnt/adapter/mine.v1"} in puller["volumeMounts"]
    secret = {"name": "pull", "items": [{"key": ".dockerconfigjson", "path": "pull/config.json"}]}
    assert {"name": "registry-auth-mine-v1", "projected": {"sources": [{"secret": secret}]}} in spec["volumes"]
    assert {"name": "mine.v1", "value": "0.5"} in server["env"] and "--enable-lora" in server["command"]


def test_where_nodes_mount_images_nothing_is_pulled() -> None:
    spec = pod_of(settings=PlanSettings(image_volumes="always"), **VARIANTS["adapter from an image"])
    assert "initContainers" not in spec and spec["imagePullSecrets"] == [{"name": "pull"}]
    image = {"reference": "registry/adapter:1", "pullPolicy": "IfNotPresent"}
    assert {"name": "adapter-volume-mine-v1", "image": image} in spec["volumes"]
    old = pod_of(settings=PlanSettings(image_volumes="always"), version=(1, 30), **VARIANTS["adapter from an image"])
    assert "initContainers" in old


def test_the_weights_of_a_private_preset_come_from_its_image() -> None:
    spec = pod_of(**VARIANTS["weights from an image"])
    (puller,), (server,) = spec["initContainers"], spec["containers"]
    assert "--image=registry/phi-weights:2" in puller["command"] and "--into=/workspace/weights" in puller["command"]
    assert "--model=/workspace/weights" in server["command"]
    assert not [word for word in server["command"] if word.startswith("--download-dir")]


def test_the_weights_on_a_node_are_read_where_they_lie() -> None:
    spec = pod_of(**VARIANTS["weights on the node"])
    folder = "/opt/kaito/models/microsoft-phi-3.5-mini-instruct"
    (server,) = spec["containers"]
    assert {f"--model={folder}", "--load-format=runai_streamer"} <= set(server["command"])
    assert {"name": "model-weights-hostpath", "hostPath": {"path": folder, "type": "Directory"}} in spec["volumes"]
    assert {"name": "model-weights-hostpath", "mountPath": folder, "readOnly": True} in server["volumeMounts"]


def test_local_disks_are_claimed_where_there_are_any_and_what_exists_stays_as_it_was_made() -> None:
    made = children(local_disk=True)["StatefulSet", "phi"]
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "kaito-local-nvme-disk"
    assert claim["spec"]["resources"] == {"requests": {"storage": "87Gi"}}
    assert "model-weights-volume" not in [v["name"] for v in made["spec"]["template"]["spec"]["volumes"]]
    again = plan_workspace(live(local_disk=True, existing=made), REF, moment(20), DEFAULTS)
    later = plan_workspace(live(existing=children()["StatefulSet", "phi"], local_disk=True), REF, moment(20), DEFAULTS)
    assert not [a for plan in (again, later) for a in plan.actions if isinstance(a, Apply)]


def test_resources_are_the_users_and_the_devices_ours() -> None:
    (server,) = pod_of(**VARIANTS["resources"])["containers"]
    assert server["resources"] == {
        "requests": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "1"},
    }


@pytest.mark.parametrize(("minor", "version"), [(20, "policy/v1beta1"), (21, "policy/v1"), (36, "policy/v1")])
def test_the_budget_is_asked_for_in_the_version_that_is_served(minor: int, version: str) -> None:
    budget = children(version=(1, minor))["PodDisruptionBudget", "phi"]
    assert (budget["apiVersion"], budget["spec"]["maxUnavailable"]) == (version, 1)


def test_labels_that_came_later_do_not_touch_what_selects_the_pods() -> None:
    made = children()["StatefulSet", "phi"]
    world = live(existing=made, labels={"inferenceset.kaito.sh/created-by": "set"})
    (apply,) = (a for a in plan_workspace(world, REF, moment(20), DEFAULTS).actions if isinstance(a, Apply))
    assert apply.body["spec"]["selector"] == made["spec"]["selector"]
    labels = apply.body["spec"]["template"]["metadata"]["labels"]
    assert labels == {"kaito.sh/workspace": "phi", "inferenceset.kaito.sh/created-by": "set"}


VARIANTS: dict[str, dict[str, Any]] = {
    "quick start": {},
    "config and token": {
        "config": "mine",
        "inference": {"preset": {"name": "phi-4", "presetOptions": {"modelAccessSecret": "hub"}}},
    },
    "two nodes": {"nodes": 2, "preset": "deepseek-ai/DeepSeek-R1-0528", "instance_type": "Standard_ND96asr_A100_v4"},
    "template": {"preset": None, "template": TEMPLATE},
    "adapter": {
        "inference": {"adapters": [{"source": {"name": "mine", "volumeSource": {"emptyDir": {}}}}]},
    },
    "load balancer": {"annotations": {"kaito.sh/enablelb": "True"}},
    "adapter from an image": {"inference": {"adapters": [{"source": ADAPTER_IMAGE, "strength": "0.5"}]}},
    "weights from an image": {"inference": {"preset": PRIVATE}},
    "weights on the node": {"annotations": {"kaito.sh/use-local-weights": "true"}},
    "local disk": {"local_disk": True},
    "resources": {"annotations": {"kaito.sh/container-resources": RESOURCES}},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("minor", [25, 27, 30, 33, 36])
def test_every_object_fits_the_schema_of_every_kubernetes(variant: str, minor: int) -> None:
    made = children(version=(1, minor), **VARIANTS[variant])
    assert len(made) == 5
    for body in made.values():
        kubernetes_validate.validate(body, f"1.{minor}", strict=True)


# No schema of 1.20 is published with the package: the fields that came later are listed here, from the API changelogs.
UNKNOWN_TO_1_20 = {
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "maxUnavailable",
    "resizePolicy",
    "restartPolicyRules",
    "os",
    "hostUsers",
    "schedulingGates",
    "resourceClaims",
    "grpc",
    "ordinals",
    "matchLabelKeys",
    "internalTrafficPolicy",
    "trafficDistribution",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_fields_that_1_20_does_not_know_are_left_out_for_it(variant: str) -> None:
    for body in children(version=(1, 20), **VARIANTS[variant]).values():
        known = {"maxUnavailable"} if body["kind"] == "PodDisruptionBudget" else set()
        assert not (UNKNOWN_TO_1_20 - known) & set(keys(body))
        assert "terminationGracePeriodSeconds" not in set(keys(body))  # of a probe; we set none of a pod
        for port in body.get("spec", {}).get("ports", []):
            assert port["protocol"] == "TCP"


def keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in keys(item))]
    return [key for item in value for key in keys(item)] if isinstance(value, list) else []
