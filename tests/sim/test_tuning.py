"""A tuning Workspace from its creation to its adapter, with the whole operator and the robots on virtual time."""

from __future__ import annotations

import anyio
import pytest

from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import JOB, STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from tests.builders import tuning_workspace
from tests.sim.test_local_core import Life, live


@pytest.mark.parametrize("minor", [20, 36])
def test_a_tuning_workspace_succeeds_is_quiet_and_is_deleted_without_a_trace(minor: int) -> None:
    async def scenario(life: Life) -> None:
        states: list[str] = []

        async def has_succeeded() -> bool:
            state = (await life.status()).get("state", "")
            if state not in states[-1:]:
                states.append(state)
            return bool(state == "Succeeded")

        await life.until(has_succeeded)
        assert [state for state in states if state] == ["Pending", "Running", "Succeeded"]
        conditions = {item["type"]: item["status"] for item in (await life.status())["conditions"]}
        assert set(conditions.values()) == {"True"} and "JobStarted" in conditions
        assert life.names(JOB) == ["phi"] and life.names(STATEFUL_SET) == [] and len(life.names(NODE_CLAIM)) == 1
        await anyio.sleep(120)
        version = life.version()
        await anyio.sleep(3600)
        assert life.version() == version
        await life.delete()
        assert life.names(JOB) == []

    body = tuning_workspace(finalizer=False) | {"metadata": {"name": "phi", "namespace": "default"}}
    live(minor, scenario, body=body)


def test_an_edited_tuning_section_is_trained_again() -> None:
    async def scenario(life: Life) -> None:
        async def has_succeeded() -> bool:
            return (await life.status()).get("state") == "Succeeded"

        await life.until(has_succeeded)
        first = (await life.client.read(JOB, JOB.ref("default", "phi")))["metadata"]["uid"]
        ws = await life.client.read(WORKSPACE, life.ref)
        patch = {"tuning": ws["tuning"] | {"input": {"urls": ["https://example.com/other.jsonl"]}}}
        await life.client.merge_patch(WORKSPACE, life.ref, patch)

        async def is_new() -> bool:
            if life.names(JOB) != ["phi"] or not await has_succeeded():
                return False
            return bool((await life.client.read(JOB, JOB.ref("default", "phi")))["metadata"]["uid"] != first)

        await life.until(is_new)

    body = tuning_workspace(finalizer=False) | {"metadata": {"name": "phi", "namespace": "default"}}
    live(36, scenario, body=body)
