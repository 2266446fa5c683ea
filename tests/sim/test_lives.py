"""The whole operator and the robots on virtual time: single lives, without storms."""

from __future__ import annotations

import anyio

from kaito.api.core import NODE, POD
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from tests.sim import checkers
from tests.sim.life import Life, live

REF = WORKSPACE.ref("default", "phi")
WITHIN_S = 900.0


def test_a_workspace_becomes_ready_and_then_the_cluster_is_quiet() -> None:
    async def scenario(life: Life) -> None:
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        await anyio.sleep(60)
        await checkers.hold(life, {"phi": 1})
        found = life.one(WORKSPACE, "phi")
        assert found is not None
        assert found["status"]["targetNodeCount"] == 1 and found["status"]["blockers"] == []
        assert len(life.all(NODE_CLAIM)) == len(life.all(NODE)) == len(life.all(POD)) == 1

    live(scenario)


def test_a_deleted_workspace_leaves_no_machine_behind() -> None:
    async def scenario(life: Life) -> None:
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        found = life.one(WORKSPACE, "phi")
        assert found is not None
        await life.client.delete(WORKSPACE, REF, uid=found["metadata"]["uid"])
        await life.until(lambda: life.one(WORKSPACE, "phi") is None, WITHIN_S)
        await anyio.sleep(60)
        assert life.all(NODE_CLAIM) == [] == life.all(NODE)
        await checkers.hold(life, {"phi": 1})

    live(scenario)


def test_a_machine_that_vanishes_is_replaced_once() -> None:
    async def scenario(life: Life) -> None:
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        (claim,) = life.all(NODE_CLAIM)
        ref = NODE_CLAIM.ref("", claim["metadata"]["name"])
        await life.client.delete(NODE_CLAIM, ref, uid=claim["metadata"]["uid"])
        await life.until(lambda: life.state() == "NotReady", WITHIN_S)
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        (after,) = life.all(NODE_CLAIM)
        assert after["metadata"]["uid"] != claim["metadata"]["uid"]
        await anyio.sleep(60)
        await checkers.hold(life, {"phi": 1})

    live(scenario)


def test_a_silent_watch_is_noticed_within_the_bookmark_deadline() -> None:
    async def scenario(life: Life) -> None:
        client = life.replicas[0].client
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        await anyio.sleep(130)  # every stream has sent a bookmark
        client.is_faulty, client.only = True, {"F5"}
        client.silences_due = 1
        (node,) = life.all(NODE)
        await life.client.merge_patch(
            NODE, NODE.ref("", node["metadata"]["name"]), {"metadata": {"labels": {"a": "b"}}}
        )
        await anyio.sleep(5)
        assert client.strikes["F5"] == 1 and checkers.truth(life) != [], "the operator has not seen the label"
        await anyio.sleep(75)
        assert checkers.truth(life) == []

    live(scenario)
