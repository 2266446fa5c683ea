"""A hub that is down, then back, under the whole operator on virtual time."""

from __future__ import annotations

from typing import Any

import anyio

from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.hub.desk import RETRY_MAX_S
from tests.sim import checkers
from tests.sim.life import Life, live

WITHIN_S = 900.0
OUTAGE_S = 3_600.0


def test_a_hub_that_is_down_costs_nothing_is_named_and_its_return_is_noticed() -> None:
    async def scenario(life: Life) -> None:
        life.hub.is_down = True
        await life.apply("phi")
        names = ("tiny", "tiny-2", "tiny-3")
        for name in names:
            await life.apply(name, preset="org/tiny")
        await life.until(lambda: life.state("phi") == "Ready", WITHIN_S)
        await anyio.sleep(120)
        asked, written = len(life.hub.asked_s), len(life.replicas[0].writes)
        await anyio.sleep(OUTAGE_S)
        assert len(life.replicas[0].writes) == written, "a blocker that has not changed is not written again"
        assert len(life.all(NODE_CLAIM)) == 1
        questions = len(life.hub.asked_s) - asked
        assert OUTAGE_S / (RETRY_MAX_S + 30) - 1 <= questions <= OUTAGE_S / (RETRY_MAX_S / 2) + 1
        for name in names:
            status = (life.one(WORKSPACE, name) or {})["status"]
            (blocker,) = status["blockers"]
            assert (blocker["reason"], blocker["culprit"]) == ("HubUnreachable", "hub/huggingface.co")
            assert blocker["since"] and "asked again by itself" in blocker["nextStep"]
        life.hub.is_down = False
        asked = len(life.hub.asked_s)
        await life.until(lambda: all(life.state(name) == "Ready" for name in names), RETRY_MAX_S + WITHIN_S)
        assert len(life.hub.asked_s) - asked == 1, "three Workspaces, one question"
        await anyio.sleep(60)
        await checkers.hold(life, dict.fromkeys(("phi", *names), 1))

    live(scenario)


def picture(life: Life) -> list[Any]:
    """What the two are, but for conditions: the benchmark's is judged anew, as no kubelet here has a log."""
    statuses = [(life.one(WORKSPACE, name) or {})["status"] for name in ("tiny", "late")]
    kept = [{key: value for key, value in status.items() if key != "conditions"} for status in statuses]
    return [*kept, life.all(STATEFUL_SET), life.all(NODE_CLAIM)]


def test_an_operator_that_starts_anew_while_the_hub_is_down_leaves_what_runs_and_what_waits_as_they_are() -> None:
    async def scenario(life: Life) -> None:
        await life.apply("tiny", preset="org/tiny")
        await life.until(lambda: life.state("tiny") == "Ready", WITHIN_S)
        life.hub.is_down = True
        await life.apply("late", preset="org/other")
        await life.until(lambda: bool(((life.one(WORKSPACE, "late") or {}).get("status") or {}).get("blockers")), 60)
        await anyio.sleep(60)
        before = picture(life)
        await life.restart()
        await anyio.sleep(900)
        assert picture(life) == before

    live(scenario)
