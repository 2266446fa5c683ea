"""F24: the operator goes from one version to the next and back with live objects; no pod restarts unless asked."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import anyio
import pytest

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, POD
from kaito.api.crds import inference_set_crd, ragengine_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json
from kaito.api.names import UPGRADE_LABEL
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.plan.pods import probes
from kaito.settings import PlanSettings
from tests.builders import SKU, ragengine, workspace
from tests.sim.life import Life, live
from tests.sim.test_lives import REF, WITHIN_S
from tests.unit.cli.test_plan_documents import inference_set

OLD = PlanSettings(inference_image="r/inference:1", tuning_image="r/tuning:1", rag_image="r/rag:1")
NEW = PlanSettings(inference_image="r/inference:2", tuning_image="r/tuning:2", rag_image="r/rag:2")
# Its adapter is pulled by an init container of the tuning image: that moves with the operator, too.
ADAPTERS = [{"source": {"name": "tone", "image": "r/adapter:1"}}]
COMPUTE = {"instanceType": SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}}


def pods(life: Life) -> dict[str, str]:
    """The uid of every pod."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in life.all(POD)}


def image(life: Life) -> str:
    return str((life.one(POD, "phi-0") or {})["spec"]["containers"][0]["image"])


async def become(life: Life, settings: PlanSettings) -> None:
    """Another version of the operator takes over, and has time to do what it wants to."""
    life.settings = settings
    await anyio.sleep(1)  # the first version has begun
    await life.restart()
    await anyio.sleep(120)


async def both_ready(life: Life) -> None:
    body = workspace("phi", inference={"adapters": ADAPTERS})
    body["metadata"] = {"name": "phi", "namespace": "default"}
    await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", ragengine_crd())
    await life.client.create(WORKSPACE, "default", body)
    rag = ragengine(spec={"compute": COMPUTE}) | {"metadata": {"name": "rag", "namespace": "default"}}
    await life.client.create(RAGENGINE, "default", rag)

    def is_ready() -> bool:
        served = (life.one(RAGENGINE, "rag") or {}).get("status") or {}
        return life.state() == "Ready" == served.get("state")

    await life.until(is_ready, WITHIN_S)


def test_an_upgrade_and_the_way_back_restart_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(life: Life) -> None:
        await become(life, OLD)
        await both_ready(life)
        before = pods(life)
        assert len(before) == 2
        # The next version has other images, and writes other probes besides.
        monkeypatch.setattr(probes, "PROBE_PERIOD_S", 7)
        for settings in (NEW, replace(NEW, benchmark=False), OLD):
            await become(life, settings)
            assert pods(life) == before and life.state() == "Ready"
        monkeypatch.undo()
        await become(life, OLD)
        assert pods(life) == before

    live(scenario)


def test_after_an_upgrade_the_label_or_an_edit_brings_the_new_version(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(life: Life) -> None:
        await become(life, OLD)
        await both_ready(life)
        before = pods(life)
        await become(life, NEW)
        assert image(life) == "r/inference:1"
        await life.client.merge_patch(WORKSPACE, REF, {"metadata": {"labels": {UPGRADE_LABEL: "2"}}})
        await life.until(lambda: pods(life).get("phi-0") not in (None, before["phi-0"]), WITHIN_S)
        assert image(life) == "r/inference:2"
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        after = pods(life)
        assert {name for name in after if name not in before} == {"phi-0"} - set(before), "the other is not touched"
        await become(life, OLD)
        assert pods(life) == after, "and the way back does not undo it"
        edit = {"metadata": {"annotations": {"kaito.sh/performance-mode": "throughput"}}}
        await life.client.merge_patch(WORKSPACE, REF, deepcopy(edit))
        await life.until(lambda: pods(life).get("phi-0") not in (None, after["phi-0"]), WITHIN_S)
        assert image(life) == "r/inference:1"

    live(scenario)


@pytest.mark.parametrize(("strategy", "least"), [("InPlace", 1), ("Surge", 2)])
def test_an_inference_set_that_follows_comes_to_the_new_image_while_it_serves(strategy: str, least: int) -> None:
    async def scenario(life: Life) -> None:
        await become(life, OLD)
        await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", inference_set_crd())
        body = inference_set(2)
        body["metadata"] = {"name": "phi", "namespace": "default"}
        body["spec"]["autoUpgrade"] = {"enabled": True, "strategy": strategy}
        await life.client.create(INFERENCE_SET, "default", body)

        def status() -> Json:
            found: Json = (life.one(INFERENCE_SET, "phi") or {}).get("status") or {}
            return found

        def images() -> set[str]:
            return {pod["spec"]["containers"][0]["image"] for pod in life.all(POD)}

        await life.until(lambda: status().get("readyReplicas") == 2, WITHIN_S)
        assert images() == {"r/inference:1"}
        life.settings = NEW
        await life.restart()
        ready: list[int] = []

        def is_over() -> bool:
            ready.append(int(status().get("readyReplicas") or 0))
            return bool((status().get("autoUpgrade") or {}).get("lastSuccessfulUpgradeTime"))

        await life.until(is_over, 3 * WITHIN_S)
        await life.until(lambda: status().get("readyReplicas") == 2 == len(life.all(POD)), WITHIN_S)
        assert images() == {"r/inference:2"} and min(ready) >= least
        assert status()["autoUpgrade"]["numDriftedWorkspaces"] == 0

    live(scenario)
