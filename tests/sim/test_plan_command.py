"""kaito plan against a cluster: nothing to do once it has converged, and what an edit would change."""

from __future__ import annotations

from copy import deepcopy

import anyio

from kaito.api.core import SERVICE
from kaito.cli.plan_world import against
from kaito.plan.preview import Preview, preview
from kaito.settings import PlanSettings
from kaito.state.graph_view import GraphView
from tests.builders import workspace
from tests.sim.life import Life, live
from tests.sim.test_lives import REF, WITHIN_S

BODY = workspace("phi", finalizer=False)
BODY["metadata"] = {"name": "phi", "namespace": "default"}


async def planned(life: Life, body: dict[str, object]) -> Preview:
    before = life.server.store.version
    graph, _ = await against(life.client, body, [], life.now())  # type: ignore[arg-type]
    found = preview(GraphView(graph), REF, life.now(), PlanSettings())
    assert life.server.store.version == before, "touches nothing"
    return found


def test_a_converged_workspace_needs_nothing_and_an_edited_one_its_change() -> None:
    async def scenario(life: Life) -> None:
        first = await planned(life, BODY)
        created = {str(step.ref) for step in first.steps}
        await life.apply("phi")
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        after = await planned(life, BODY)
        assert not after.has_changes and after.errors == ()
        assert {str(step.ref) for step in after.steps} == created, "what was promised is what there is"
        life.replicas[0].client.is_partitioned = True
        await life.client.merge_patch(
            SERVICE, SERVICE.ref("default", "phi"), {"spec": {"selector": {"kaito.sh/workspace": "other"}}}
        )
        await anyio.sleep(5)  # the robots follow the selector
        edited = deepcopy(BODY) | {"metadata": BODY["metadata"] | {"annotations": {"kaito.sh/runtime": "transformers"}}}
        changes = {str(step.ref): step.changes for step in (await planned(life, edited)).steps if step.action}
        assert set(changes) >= {"service/default/phi", "statefulset/default/phi"}
        assert any("command" in change.path for change in changes["statefulset/default/phi"])
        assert any("selector" in change.path for change in changes["service/default/phi"])

    live(scenario)
