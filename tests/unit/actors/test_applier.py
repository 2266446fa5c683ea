"""The applier: preconditions hold, what was lost is looked up, what is not ours is never touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import trio
from trio.testing import MockClock

from kaito.actors.applier import REQUEST_TIMEOUT_S, Applier, MayNotWrite, TakenByAnother
from kaito.actors.outcome import Outcome, Retry, Settled, Terminal
from kaito.api.core import SERVICE
from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.kube.errors import Conflict, Invalid, Throttled, Unreachable
from kaito.plan.actions import Create, Delete, PatchRoot, PatchStatus, Plan
from kaito.state.expectations import Expectations
from tests.builders import moment, node_claim, service, workspace
from tests.unit.local.robots.cluster import CoreCluster

ROOT = WORKSPACE.ref("default", "phi")


class Cluster(CoreCluster):
    """Answers can be lost, late or refused."""

    def __init__(self) -> None:
        super().__init__(moment)
        self.refuse: Exception | None = None
        self.loses_answers = False
        self.delay_s = 0.0

    async def delete(self, *args: Any, **more: Any) -> None:
        if self.refuse:
            raise self.refuse
        await super().delete(*args, **more)

    async def create(self, *args: Any, **more: Any) -> Json:
        await anyio.sleep(self.delay_s)
        if self.refuse:
            raise self.refuse
        made = await super().create(*args, **more)
        if self.loses_answers:
            raise Unreachable("the answer was lost")
        return made


def fresh(obj: Json) -> Json:
    """The object as one who makes it sends it."""
    kept = {key: value for key, value in obj["metadata"].items() if key not in ("uid", "resourceVersion")}
    return obj | {"metadata": kept}


def claim(name: str) -> Create:
    return Create(NODE_CLAIM, fresh(node_claim(name)), "needed")


def execute(
    cluster: Cluster, *actions: Any, may_write: Callable[[float], bool] = lambda _: True
) -> tuple[Outcome, Expectations, float]:
    expectations = Expectations()

    async def main() -> tuple[Outcome, float]:
        applier = Applier(cluster, expectations, may_write=may_write, emit=lambda _: None, read=lambda _: None)
        began_s = anyio.current_time()
        return await applier.execute(Plan(ROOT, tuple(actions))), anyio.current_time() - began_s

    outcome, seconds = trio.run(main, clock=MockClock(autojump_threshold=0))
    return outcome, expectations, seconds


def test_creates_side_by_side_go_out_together_and_are_expected() -> None:
    cluster = Cluster()
    cluster.delay_s = 5
    outcome, expectations, seconds = execute(cluster, claim("ws1"), claim("ws2"), claim("ws3"))
    assert outcome == Settled(3)
    assert seconds == 5
    assert sorted(opened.ref.name for opened in expectations.unmet(ROOT)) == ["ws1", "ws2", "ws3"]


def test_a_create_whose_answer_was_lost_is_ours_when_it_is_there() -> None:
    cluster = Cluster()
    cluster.loses_answers = True
    outcome, expectations, _ = execute(cluster, claim("ws1"))
    assert outcome == Settled(1)
    assert len(expectations.unmet(ROOT)) == 1


def test_a_name_that_another_holds_is_a_loud_failure_and_is_left_alone() -> None:
    cluster = Cluster()
    foreign = node_claim("ws1", owner="other", owner_uid="uid-other")
    execute(cluster, Create(NODE_CLAIM, fresh(foreign), "theirs"))
    before = cluster.get(NODE_CLAIM, "ws1")
    outcome, expectations, _ = execute(cluster, claim("ws1"))
    assert isinstance(outcome, Retry) and isinstance(outcome.error, TakenByAnother)
    assert cluster.get(NODE_CLAIM, "ws1") == before
    assert expectations.unmet(ROOT) == ()


def test_a_replica_whose_lease_ends_before_the_deadline_sends_nothing() -> None:
    cluster = Cluster()
    asked: list[float] = []

    def may_write(deadline_s: float) -> bool:
        asked.append(deadline_s)
        return False

    outcome, _, _ = execute(cluster, claim("ws1"), may_write=may_write)
    assert isinstance(outcome, Retry) and isinstance(outcome.error, MayNotWrite)
    assert cluster.writes == 0 and len(asked) == 1


def test_an_answer_that_never_comes_is_given_up_at_the_deadline() -> None:
    cluster = Cluster()
    cluster.delay_s = 1_000
    outcome, expectations, seconds = execute(cluster, claim("ws1"))
    assert isinstance(outcome, Retry) and isinstance(outcome.error, Unreachable)
    assert seconds == REQUEST_TIMEOUT_S
    assert expectations.unmet(ROOT) == ()


def test_what_the_server_refuses_for_good_is_terminal_and_what_may_pass_is_not() -> None:
    cluster = Cluster()
    cluster.refuse = Invalid("spec: no")
    assert isinstance(execute(cluster, claim("ws1"))[0], Terminal)
    cluster.refuse = Throttled("later", retry_after_s=7)
    outcome = execute(cluster, claim("ws1"))[0]
    assert isinstance(outcome, Retry) and outcome.after_s == 7


def test_patches_of_one_plan_go_on_from_each_others_version_and_a_stale_one_is_a_conflict() -> None:
    cluster = Cluster()
    execute(cluster, Create(WORKSPACE, fresh(workspace(finalizer=False)), "user"))
    live = cluster.get(WORKSPACE, "phi")["metadata"]
    uid, version = live["uid"], live["resourceVersion"]
    finalizer = PatchRoot(WORKSPACE, ROOT, {"metadata": {"finalizers": ["f"]}}, uid, version, "hold")
    status = PatchStatus(WORKSPACE, ROOT, {"state": "Pending"}, uid, version, "news")
    assert execute(cluster, finalizer, status)[0] == Settled(2)
    assert cluster.get(WORKSPACE, "phi")["status"]["state"] == "Pending"
    outcome = execute(cluster, PatchStatus(WORKSPACE, ROOT, {"state": "Ready"}, uid, version, "stale"))[0]
    assert isinstance(outcome, Retry) and isinstance(outcome.error, Conflict)
    assert cluster.get(WORKSPACE, "phi")["status"]["state"] == "Pending"


def test_a_delete_is_done_when_the_object_is_gone_or_is_another() -> None:
    cluster = Cluster()
    execute(cluster, Create(SERVICE, fresh(service("phi", ownerReferences=[])), "child"))
    ref, uid = SERVICE.ref("default", "phi"), cluster.get(SERVICE, "phi")["metadata"]["uid"]
    assert execute(cluster, Delete(SERVICE, ref, "another", "old"))[0] == Settled(1)
    assert ref in cluster.store(SERVICE)
    outcome, expectations, _ = execute(cluster, Delete(SERVICE, ref, uid, "old"))
    assert outcome == Settled(1) and len(expectations.unmet(ROOT)) == 1
    outcome, expectations, _ = execute(cluster, Delete(SERVICE, ref, uid, "old"))
    assert outcome == Settled(1) and expectations.unmet(ROOT) == ()


def test_a_failed_create_does_not_keep_the_status_from_the_user() -> None:
    cluster = Cluster()
    execute(cluster, Create(WORKSPACE, fresh(workspace(finalizer=False)), "user"))
    live = cluster.get(WORKSPACE, "phi")["metadata"]
    cluster.refuse = Invalid("spec: no")
    status = PatchStatus(WORKSPACE, ROOT, {"state": "Pending"}, live["uid"], live["resourceVersion"], "news")
    assert isinstance(execute(cluster, claim("ws1"), status)[0], Terminal)
    assert cluster.get(WORKSPACE, "phi")["status"]["state"] == "Pending"


def test_nothing_else_is_sent_after_a_failure() -> None:
    cluster = Cluster()
    status = PatchStatus(WORKSPACE, ROOT, {"state": "Pending"}, "u", "1", "news")
    outcome, _, _ = execute(cluster, status, claim("ws1"))
    assert isinstance(outcome, Retry)
    assert cluster.writes == 0


def test_a_deletion_that_conflicts_is_done_only_where_the_name_is_anothers() -> None:
    def deleting(uid: str | None) -> tuple[Outcome, int]:
        cluster = Cluster()
        execute(cluster, claim("ws1"))
        live = cluster.get(NODE_CLAIM, "ws1", "")["metadata"]["uid"]
        cluster.refuse = Conflict("the object has been modified")
        ref = NODE_CLAIM.ref("", "ws1" if uid != "gone" else "ws2")
        outcome, expectations, _ = execute(cluster, Delete(NODE_CLAIM, ref, uid or live, "not needed"))
        return outcome, len(expectations)

    outcome, _ = deleting(None)
    assert isinstance(outcome, Retry) and isinstance(outcome.error, Conflict)
    assert deleting("another") == (Settled(1), 0) == deleting("gone")
