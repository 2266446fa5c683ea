"""The causal chain: deepest cause first, symptoms after it, ages only where people read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import ObjectRef
from kaito.plan.explain import age, blockers, causes, explain, headline, render
from kaito.plan.timeline import timeline
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting
from tests.builders import at, moment

ROOT = ObjectRef("Workspace", "default", "phi")
CLAIM = ObjectRef("NodeClaim", "", "ws1")
NODE = ObjectRef("Node", "", "n1")
PASSED = Ready("NodesPlanned", "1 node", ROOT, moment(0))
QUOTA = Failed("ClaimLaunched", "QuotaExceeded", "no quota", CLAIM, "ask for quota", moment(60))
BOOTING = Waiting("NodeRegistered", "NodeNotRegistered", "booting", CLAIM, "wait", moment(30))
LATER = Waiting("WorkloadCreated", "AwaitingEarlierStage", "no workload", ROOT, "", is_symptom=True)
FLAP = Waiting("GPUAllocatable", "GPUCapacityFlapping", "0 of 1", NODE, "wait", moment(90), 30, is_tolerated=True)


def test_failures_come_before_waits_and_symptoms_are_no_causes() -> None:
    assert causes((PASSED, BOOTING, QUOTA, LATER)) == (QUOTA, BOOTING)


def test_a_symptom_speaks_only_where_nothing_else_does() -> None:
    assert causes((PASSED, LATER)) == (LATER,)
    assert causes((PASSED, FLAP, LATER)) == (LATER, FLAP)
    assert causes((PASSED, FLAP)) == (FLAP,)
    assert causes((PASSED,)) == ()


def test_blockers_are_the_causes_as_data_and_an_unknown_since_is_now() -> None:
    unknown = Waiting("NodeReady", "NodeNotReady", "n1 is not Ready", NODE, "wait")
    assert blockers((PASSED, unknown, QUOTA), [], moment(99)) == [
        {
            "gate": "ClaimLaunched",
            "reason": "QuotaExceeded",
            "message": "no quota",
            "culprit": "nodeclaim/ws1",
            "since": at(60),
            "nextStep": "ask for quota",
        },
        {
            "gate": "NodeReady",
            "reason": "NodeNotReady",
            "message": "n1 is not Ready",
            "culprit": "node/n1",
            "since": at(99),
            "nextStep": "wait",
        },
    ]


def test_a_since_once_written_does_not_move() -> None:
    unknown = Waiting("NodeReady", "NodeNotReady", "n1 is not Ready", NODE, "wait")
    once = blockers((unknown,), [], moment(5))
    assert blockers((unknown,), once, moment(99)) == once


def test_the_terminal_sees_the_chain_with_ages() -> None:
    told = render(explain(ROOT, "Pending", (PASSED, QUOTA, BOOTING, LATER)), moment(125))
    assert told.splitlines() == [
        "workspace/default/phi is Pending",
        "  because ClaimLaunched failed (QuotaExceeded) since 1m5s",
        "      no quota",
        "      object: nodeclaim/ws1",
        "      next:   ask for quota",
        "  and NodeRegistered waiting (NodeNotRegistered) since 1m35s",
        "      booting",
        "      object: nodeclaim/ws1",
        "      next:   wait",
        "  so these wait: WorkloadCreated",
        "  passed:",
        "    2m5s ago NodesPlanned: 1 node",
    ]


def test_the_headline_names_object_and_next_step_and_fits_an_event() -> None:
    assert headline(QUOTA) == "no quota (nodeclaim/ws1); next: ask for quota"
    long = Failed("ClaimLaunched", "QuotaExceeded", "x" * 5_000, CLAIM, "ask")
    assert len(headline(long)) == 1_024


def test_ages_have_two_units() -> None:
    seconds = (0, 59, 60, 250, 3_600, 11_100, 86_400, 187_200, -5)
    assert [age(moment(0), moment(s)) for s in seconds] == [
        "0s",
        "59s",
        "1m",
        "4m10s",
        "1h",
        "3h5m",
        "1d",
        "2d4h",
        "0s",
    ]


def test_a_stage_keeps_the_time_that_was_recorded_and_a_tolerated_one_stays() -> None:
    prior = [{"stage": "GPUAllocatable", "at": at(5)}]
    verdicts: tuple[Verdict, ...] = (PASSED, QUOTA, FLAP, Ready("TaintsCleared", "free"))
    assert timeline(verdicts, prior, moment(70)) == [
        {"stage": "NodesPlanned", "at": at(0), "message": "1 node"},
        {"stage": "GPUAllocatable", "at": at(5), "message": "0 of 1"},
        {"stage": "TaintsCleared", "at": at(70), "message": "free"},
    ]


@given(st.permutations([PASSED, QUOTA, BOOTING, LATER, FLAP]), st.integers(0, 10_000))
def test_a_timeline_written_once_does_not_move(verdicts: list[Verdict], later_s: int) -> None:
    once = timeline(verdicts, [], moment(0))
    assert timeline(verdicts, once, moment(later_s)) == once


def test_the_timeline_is_in_time_and_counted_from_the_creation() -> None:
    ready, unknown = (
        Ready("NodeReady", "n1 is Ready", NODE, moment(-60)),
        Ready("TaintsCleared", "n1 takes our pods", NODE),
    )
    server = Ready("ServerReady", "it answers", ROOT, moment(400))
    recorded = [{"stage": "ServerReady", "at": at(90)}]
    told = explain(ROOT, "Ready", (PASSED, ready, unknown, server), created=moment(0), recorded=recorded)
    assert render(told, moment(150)).splitlines() == [
        "workspace/default/phi is Ready since 1m",
        "  passed, counted from its creation at 2026-01-31 12:00:00 UTC:",
        "    before  NodeReady: n1 is Ready",
        "            TaintsCleared: n1 takes our pods",
        "    +0s     NodesPlanned: 1 node",
        "    +1m30s  ServerReady: it answers",
    ], "the time in the status stands: the cluster's own moves when a pod is made anew"
