"""plan_ragengine: what a RAGEngine needs, what its pod is told, and what is wrong with a wish."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.api.crds import ragengine_crd
from kaito.api.meta import Json, ObjectRef
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.ragengine import RAGENGINE
from kaito.api.workloads import DEPLOYMENT
from kaito.plan.actions import Create, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.ragengine import judge_ragengine, plan_ragengine
from kaito.plan.verdict import Failed
from kaito.settings import PlanSettings
from tests.builders import SKU, World, config_map, moment, ragengine
from tests.unit.plan.applier import Applier

REF = RAGENGINE.ref("default", "rag")
SETTINGS = PlanSettings()
COMPUTE = {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}}
LOCAL = {"local": {"modelID": "BAAI/bge-small-en-v1.5"}}


def plan(world: World, now_s: float = 0, settings: PlanSettings = SETTINGS) -> Plan:
    return plan_ragengine(world, REF, moment(now_s), settings)


def created(found: Plan, kind: str) -> list[Json]:
    return [action.body for action in found.actions if isinstance(action, Create) and action.kind.kind == kind]


def variables(deployment: Json) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value") or item["valueFrom"]["secretKeyRef"] for item in container["env"]}


def deployment_of(**spec: Any) -> Json:
    """The Deployment that a RAGEngine without a machine gets at once."""
    (found,) = created(plan(World(ragengine(spec=spec))), "Deployment")
    return found


def test_without_compute_the_service_starts_at_once_and_no_machine_is_asked_for() -> None:
    found = plan(World(ragengine()))
    assert [action.kind.kind for action in found.actions if isinstance(action, Create)] == ["Service", "Deployment"]
    (container,) = created(found, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_with_an_instance_type_the_machine_comes_first() -> None:
    found = plan(World(ragengine(spec={"compute": COMPUTE})))
    (claim,) = created(found, "NodeClaim")
    assert claim["metadata"]["labels"]["kaito.sh/ragengine"] == "rag"
    assert created(found, "Deployment") == []


def test_the_finalizer_guards_before_anything_is_created() -> None:
    found = plan(World(ragengine(spec={"compute": COMPUTE}, finalizers=[])))
    assert [type(action) for action in found.actions] == [PatchRoot]


def test_every_field_of_the_spec_reaches_the_service() -> None:
    found = deployment_of(
        embedding={"remote": {"url": "http://embed/v1/embeddings", "accessSecret": "e"}},
        inferenceService={"url": "http://llm/v1", "accessSecret": "l", "contextWindowSize": 4096},
        storage={
            "persistentVolume": {"persistentVolumeClaim": "pvc", "mountPath": "/data"},
            "vectorDB": {"engine": "qdrant", "url": "http://q:6333", "accessSecret": "v"},
        },
    )
    told = variables(found)
    assert {name: value for name, value in told.items() if name != "HOME"} == {
        "EMBEDDING_SOURCE_TYPE": "remote",
        "REMOTE_EMBEDDING_URL": "http://embed/v1/embeddings",
        "REMOTE_EMBEDDING_ACCESS_SECRET": {"name": "e", "key": "REMOTE_EMBEDDING_ACCESS_SECRET"},
        "LLM_CONTEXT_WINDOW": "4096",
        "LLM_INFERENCE_URL": "http://llm/v1",
        "LLM_ACCESS_SECRET": {"name": "l", "key": "LLM_ACCESS_SECRET"},
        "VECTOR_DB_TYPE": "qdrant",
        "VECTOR_DB_URL": "http://q:6333",
        "VECTOR_DB_ACCESS_SECRET": {"name": "v", "key": "VECTOR_DB_ACCESS_SECRET"},
        "DEFAULT_VECTOR_DB_PERSIST_DIR": "/data/rag",
        "OUTPUT_GUARDRAILS_ENABLED": "false",
    }
    volumes = {item["name"]: item for item in found["spec"]["template"]["spec"]["volumes"]}
    assert volumes["vector-db-storage"]["persistentVolumeClaim"] == {"claimName": "pvc"}


def test_a_model_in_an_image_is_pulled_before_the_service_starts() -> None:
    pod = deployment_of(embedding={"local": {"image": "r.example/models/bge:1", "imagePullSecret": "pull"}})["spec"][
        "template"
    ]["spec"]
    (puller,) = pod["initContainers"]
    assert "--image=r.example/models/bge:1" in puller["command"]
    assert variables({"spec": {"template": {"spec": pod}}})["LOCAL_EMBEDDING_MODEL_ID"] == "/mnt/embedding"


def test_the_flat_storage_fields_of_v1alpha1_still_mean_a_volume() -> None:
    flat = {"persistentVolumeClaim": "old", "mountPath": "/old"}
    volumes = deployment_of(storage=flat)["spec"]["template"]["spec"]["volumes"]
    assert {"name": "vector-db-storage", "persistentVolumeClaim": {"claimName": "old"}} in volumes
    for version in ragengine_crd()["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["storage"]["properties"]
        assert set(schema) == {"persistentVolume", "vectorDB", "persistentVolumeClaim", "mountPath"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"embedding": {}}, "spec.embedding: neither"),
        ({"embedding": LOCAL | {"remote": {"url": "http://e"}}}, "spec.embedding: both"),
        ({"embedding": {"local": {}}}, "spec.embedding.local: neither"),
        ({"embedding": {"local": {"image": "a/b:1", "modelID": "m"}}}, "spec.embedding.local: both"),
        ({"inferenceService": {"contextWindowSize": 0}}, "spec.inferenceService.contextWindowSize: 0"),
        ({"compute": {"labelSelector": {}}}, "spec.compute.instanceType"),
        ({"guardrails": {"enabled": True}}, "spec.guardrails.configMapRef"),
        ({"guardrails": {"enabled": True, "configMapRef": {"name": "no"}}}, "there is no ConfigMap no"),
        ({"embedding": None}, "spec.embedding"),
    ],
)
def test_a_wrong_wish_is_named_and_starts_nothing(spec: Json, field: str) -> None:
    found = plan(World(ragengine(spec=spec)))
    assert not any(isinstance(action, Create) for action in found.actions)
    (failed,) = [verdict for verdict in found.verdicts if isinstance(verdict, Failed)]
    assert field in failed.message and failed.next_step
    (status,) = [action for action in found.actions if isinstance(action, PatchStatus)]
    assert status.status["blockers"][0]["message"] == failed.message


def test_guardrails_are_mounted_from_the_config_map_that_was_named() -> None:
    spec = {"guardrails": {"enabled": True, "configMapRef": {"name": "policy"}}}
    world = World(ragengine(spec=spec), config_map("policy", guardrails__yaml="output: []"))
    (found,) = created(plan(world), "Deployment")
    assert variables(found)["OUTPUT_GUARDRAILS_POLICY_PATH"] == "/etc/ragengine/guardrails/guardrails.yaml"


def test_a_plan_that_was_carried_out_is_followed_by_an_empty_one() -> None:
    world = World(ragengine())
    applier = Applier(world)
    for _ in range(4):
        applier.run(plan(world), moment())
    assert plan(world).actions == ()
    assert {ref.kind for ref in world.bodies} >= {"Service", "Deployment", "RAGEngine"}


def test_one_that_nobody_has_taken_up_says_so() -> None:
    verdicts = judge_ragengine(World(ragengine(finalizers=[])), REF, moment(), SETTINGS)
    assert verdicts[0].gate == "Reconciled"


def test_a_deleted_one_releases_its_machine_first() -> None:
    world = World(ragengine(spec={"compute": COMPUTE}))
    applier = Applier(world)
    applier.run(plan(world), moment())
    (name,) = [ref.name for ref in world.bodies if ref.kind == NODE_CLAIM.kind]
    body = world.bodies[REF]
    body["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    found = plan(world, 2)
    assert [action.ref.name for action in found.actions if isinstance(action, Delete)] == [name]
    assert ObjectRef(DEPLOYMENT.kind, "default", "rag") not in world.bodies


def test_an_uninstall_waits_for_the_delete_and_not_for_the_machine() -> None:
    world = World(ragengine(spec={"compute": COMPUTE}))
    applier = Applier(world)
    applier.run(plan(world), moment())
    (claim,) = [body for ref, body in world.bodies.items() if ref.kind == NODE_CLAIM.kind]
    claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]
    world.leaving.add(RAGENGINE)
    assert plan(world, 1).actions == ()
    world.bodies[REF]["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    for _ in range(2):
        applier.run(plan(world, 2), moment(2))
    assert REF not in world.bodies and claim["metadata"]["deletionTimestamp"]
