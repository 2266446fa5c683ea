"""kaito plan against a cluster: nothing to do once it has converged, and what an edit would change."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import anyio

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, SECRET, SERVICE
from kaito.api.crds import inference_set_crd, ragengine_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.plan_files import document_of
from kaito.cli.plan_world import against, look_for
from kaito.cli.planned import Planned, asked_for, plan_world, verb_of, with_needs
from kaito.cli.prices import Prices
from kaito.plan.merge import LAST_APPLIED_ANNOTATION
from kaito.settings import PlanSettings
from tests.builders import SKU, ragengine, workspace
from tests.sim.life import Life, live
from tests.sim.test_lives import REF, WITHIN_S
from tests.unit.cli.test_plan_documents import inference_set


def written(body: Json, **metadata: Any) -> Json:
    """As a user writes it."""
    found = deepcopy(body)
    found["metadata"] = {"name": body["metadata"]["name"], "namespace": "default"} | metadata
    return found


BODY = written(workspace("phi"))


async def planned(life: Life, *bodies: Json) -> list[Planned]:
    before = life.server.store.version
    documents = [document for body in bodies if (document := document_of("test", body)) is not None]
    world = await against(life.client, documents, documents, life.now())
    found = plan_world(world, PlanSettings(), Prices(), life.now())
    await look_for(life.client, world, asked_for(found))
    assert life.server.store.version == before, "touches nothing"
    return [with_needs(world, each) for each in found]


def changed(planned: Planned) -> dict[str, str]:
    return {str(step.ref): verb_of(step) for step in planned.steps if step.action}


async def create(life: Life, kind: ResourceKind, body: Json) -> None:
    await life.client.create(kind, "default", deepcopy(body))


def test_a_converged_workspace_needs_nothing_and_an_edited_one_its_change() -> None:
    async def scenario(life: Life) -> None:
        (first,) = await planned(life, BODY)
        created = set(changed(first))
        await create(life, WORKSPACE, BODY)
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        (after,) = await planned(life, BODY)
        assert not after.is_open and after.errors == ()
        assert {str(step.ref) for step in after.steps} == created, "what was promised is what there is"
        life.replicas[0].client.is_partitioned = True
        await life.client.merge_patch(
            SERVICE, SERVICE.ref("default", "phi"), {"spec": {"selector": {"kaito.sh/workspace": "other"}}}
        )
        await anyio.sleep(5)  # the robots follow the selector
        (edited,) = await planned(life, written(BODY, annotations={"kaito.sh/performance-mode": "throughput"}))
        changes = {str(step.ref): step.changes for step in edited.steps if step.action}
        assert set(changes) >= {"workspace/default/phi", "service/default/phi", "statefulset/default/phi"}
        assert any("performance-mode" in change.path for change in changes["workspace/default/phi"])
        assert any("command" in change.path for change in changes["statefulset/default/phi"])
        assert any("selector" in change.path for change in changes["service/default/phi"])

    live(scenario)


def test_what_was_applied_once_and_is_no_longer_written_goes() -> None:
    async def scenario(life: Life) -> None:
        before = written(BODY, annotations={"kaito.sh/performance-mode": "throughput"})
        text = json.dumps({"metadata": {"annotations": {"kaito.sh/performance-mode": "throughput"}}})
        made = written(BODY, annotations={"kaito.sh/performance-mode": "throughput", LAST_APPLIED_ANNOTATION: text})
        await create(life, WORKSPACE, made)
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        (same,) = await planned(life, before)
        assert not same.is_open
        (without,) = await planned(life, BODY)
        assert changed(without) == {"workspace/default/phi": "change", "statefulset/default/phi": "change"}

    live(scenario)


def test_an_object_that_is_being_deleted_takes_what_is_written_with_it() -> None:
    async def scenario(life: Life) -> None:
        await create(life, WORKSPACE, BODY)
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        life.replicas[0].client.is_partitioned = True
        await life.client.delete(WORKSPACE, REF, uid=str((life.one(WORKSPACE, "phi") or {})["metadata"]["uid"]))
        (found,) = await planned(life, BODY)
        (error,) = found.errors
        assert "being deleted" in error and "NodeClaim" in error and "apply it again when it is gone" in error
        assert [verb for name, verb in changed(found).items() if name.startswith("nodeclaim/")] == ["delete"]

    live(scenario)


def test_a_converged_ragengine_needs_nothing_and_misses_its_secret() -> None:
    async def scenario(life: Life) -> None:
        await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", ragengine_crd())
        service = {"url": "http://phi/v1", "contextWindowSize": 4096, "accessSecret": "llm"}
        compute = {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}}
        body = written(ragengine(spec={"compute": compute, "inferenceService": service}))

        def state() -> str:
            return str(((life.one(RAGENGINE, "rag") or {}).get("status") or {}).get("state"))

        (first,) = await planned(life, body)
        assert first.warnings == ("Secret llm with the key LLM_ACCESS_SECRET is missing: pods wait for it",)
        secret = written({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "llm"}})
        await create(life, SECRET, secret | {"data": {"LLM_ACCESS_SECRET": "eA=="}})
        await create(life, RAGENGINE, body)
        await life.until(lambda: state() == "Ready", WITHIN_S)
        (after,) = await planned(life, body)
        assert not after.is_open and after.warnings == after.errors == ()
        assert {str(step.ref) for step in after.steps} == {str(step.ref) for step in first.steps}

    live(scenario)


def test_a_converged_inference_set_needs_nothing_and_a_changed_one_is_rolled() -> None:
    async def scenario(life: Life) -> None:
        await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", inference_set_crd())
        body = written(inference_set())
        (first,) = await planned(life, body)
        await create(life, INFERENCE_SET, body)

        def ready() -> int:
            return int(((life.one(INFERENCE_SET, "phi") or {}).get("status") or {}).get("readyReplicas") or 0)

        await life.until(lambda: ready() == 2, WITHIN_S)
        (after,) = await planned(life, body)
        assert not after.is_open and after.errors == ()
        assert {str(step.ref) for step in after.steps} == {str(step.ref) for step in first.steps}
        fewer = deepcopy(body)
        fewer["spec"]["replicas"] = 1
        (down,) = await planned(life, fewer)
        assert sorted(changed(down).values()) == ["change", *["delete"] * 4], "Workspace, machine, workload, budget"
        other = deepcopy(body)
        other["spec"]["template"]["metadata"] = {"annotations": {"kaito.sh/performance-mode": "throughput"}}
        (rolled,) = await planned(life, other)
        verbs = [(name.partition("/")[0], verb) for name, verb in changed(rolled).items()]
        assert sorted(verbs) == [
            ("inferenceset", "change"),
            *[("statefulset", "change")] * 2,
            *[("workspace", "change")] * 2,
        ]
        moved = deepcopy(body)
        moved["spec"]["template"]["resource"]["instanceType"] = "Standard_NC48ads_A100_v4"
        (replaced,) = await planned(life, moved)
        verbs = [(name.partition("/")[0], verb) for name, verb in changed(replaced).items()]
        assert verbs.count(("workspace", "delete")) == verbs.count(("workspace", "create")) == 2
        assert verbs.count(("nodeclaim", "delete")) == verbs.count(("nodeclaim", "create")) == 2

    live(scenario)
