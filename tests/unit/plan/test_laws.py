"""Laws of the planner over random worlds: it converges, it is quiet, it never asks for too many machines."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito.api.meta import Json, ObjectRef, ResourceVersion
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Create, Delete, Plan
from kaito.plan.memo import Known
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Init, InitApply, InitDone
from kaito.state.events import Delete as Deleted
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from tests.builders import (
    SKU,
    World,
    at,
    condition,
    container_status,
    decode,
    moment,
    node,
    node_claim,
    pod,
    service,
    stateful_set,
    workspace,
)
from tests.unit.plan.applier import Applier

REF = ObjectRef("Workspace", "default", "phi")
SETTINGS = PlanSettings(benchmark=False)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
TIMES = st.integers(0, 2_000)


@st.composite
def claims(draw: Any, name: str) -> list[Json]:
    """A NodeClaim in any state of its life, with its node if it has one."""
    uid = draw(st.sampled_from(["uid-default-phi", "uid-default-phi", None, "uid-former"]))
    owner = draw(st.sampled_from(["phi", "phi", "phi", "sibling"]))
    reached = draw(st.integers(0, 4))
    types = ["Launched", "Registered", "Initialized", "Ready"]
    error = draw(st.sampled_from([("Unknown", "AwaitingReconciliation"), ("False", "QuotaExceeded")]))
    conditions = [condition(type_, since=draw(TIMES)) for type_ in types[:reached]]
    conditions += [condition(type_, *error) for type_ in types[reached : reached + 1]]
    has_node = reached >= 2 and draw(st.booleans())
    meta: Json = {"creationTimestamp": at(draw(st.integers(-500, 500)))}
    if draw(st.integers(0, 3)) == 0:
        meta |= {"deletionTimestamp": at(draw(TIMES)), "finalizers": ["karpenter.sh/termination"]}
    if draw(st.booleans()):
        meta["finalizers"] = ["karpenter.sh/termination"]
    body = node_claim(
        name,
        owner=owner,
        owner_uid=uid,
        conditions=conditions if draw(st.integers(0, 4)) else None,
        node=f"node-{name}" if has_node else "",
        **meta,
    )
    return [body, draw(nodes(f"node-{name}"))] if has_node and draw(st.integers(0, 4)) else [body]


@st.composite
def nodes(draw: Any, name: str) -> Json:
    return node(
        name,
        gpus=draw(st.sampled_from([None, 0, 1, 1, 1])),
        capacity=draw(st.sampled_from([None, 0, 1])),
        ready=draw(st.sampled_from(["True", "True", "True", "False", "Unknown"])),
        instance_type=draw(st.sampled_from([SKU, SKU, "Standard_D4"])),
        labels={"apps": "phi"},
        taints=draw(
            st.lists(
                st.sampled_from(
                    [
                        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
                        {"key": "node.cilium.io/agent-not-ready", "effect": "NoExecute"},
                    ]
                ),
                max_size=2,
                unique_by=str,
            )
        ),
        since=draw(TIMES),
    )


@st.composite
def pods(draw: Any, index: int) -> Json:
    statuses = st.sampled_from(
        [
            container_status(running=True),
            container_status(waiting=("ImagePullBackOff", "no such image")),
            container_status(waiting=("CrashLoopBackOff", ""), last={"exitCode": 1, "reason": "Error"}, restarts=3),
            container_status(terminated={"exitCode": 137, "reason": "OOMKilled", "finishedAt": at(9)}),
            container_status(waiting=("ContainerCreating", "")),
        ]
    )
    name = f"phi-{index}"
    if draw(st.booleans()):
        return pod(name, node="node-a", ready=True)
    return pod(name, node=draw(st.sampled_from(["", "node-a"])), statuses=[draw(statuses)])


@st.composite
def worlds(draw: Any, *, deleting: bool = False) -> World:
    """A Workspace, somewhere in its life, among claims, nodes and pods that may be in any state."""
    meta: Json = {"deletionTimestamp": at(5)} if deleting else {}
    world = World(
        workspace(
            instance_type=SKU,
            target=draw(st.sampled_from([None, 1, 2, 3])),
            finalizer=deleting or draw(st.integers(0, 5)) > 0,
            **meta,
        )
    )
    for name in draw(st.sets(st.sampled_from(["aa", "bb", "cc"]), max_size=3)):
        world.put(*draw(claims(name)))
    if draw(st.booleans()):
        owners = {} if draw(st.integers(0, 3)) else {"ownerReferences": []}
        world.put(stateful_set(**owners))
        for index in range(draw(st.integers(0, 3))):
            world.put(draw(pods(index)))
    if draw(st.booleans()):
        world.put(service())
    return world


def _settle(world: World, applier: Applier, now_s: float, rounds_max: int = 12) -> Plan:
    """Plans and applies until the plan is empty; the world itself does not move meanwhile."""
    for _ in range(rounds_max):
        plan = plan_workspace(world, REF, moment(now_s), SETTINGS)
        if not plan.actions:
            return plan
        applier.run(plan, moment(now_s))
    raise AssertionError(f"not converged: {plan.actions}")


@QUICK
@given(worlds(), TIMES)
def test_what_a_plan_asked_for_it_does_not_ask_for_again(world: World, now_s: int) -> None:
    applier = Applier(world)
    assert _settle(world, applier, now_s).actions == ()


@QUICK
@given(worlds(), TIMES)
def test_between_two_rechecks_nothing_is_written(world: World, now_s: int) -> None:
    applier = Applier(world)
    settled = _settle(world, applier, now_s)
    quiet_s = settled.recheck_s if settled.recheck_s is not None else 100 * 3600
    for share in (0.01, 0.5, 0.99):
        assert plan_workspace(world, REF, moment(now_s + quiet_s * share), SETTINGS).actions == ()


@QUICK
@given(worlds(), TIMES)
def test_live_claims_never_exceed_the_target(world: World, now_s: int) -> None:
    applier = Applier(world)
    before = len(_live_claims(world))
    for round_ in range(8):
        applier.run(plan_workspace(world, REF, moment(now_s + round_), SETTINGS), moment(now_s + round_))
        target = (world.bodies[REF].get("status") or {}).get("targetNodeCount") or 0
        assert len(_live_claims(world)) <= max(before, target)


@QUICK
@given(worlds(), TIMES)
def test_a_stale_view_asks_for_claims_that_exist_already(world: World, now_s: int) -> None:
    """The same view, planned twice, names the same claims: the second request is AlreadyExists."""
    stale = deepcopy(world)
    first = plan_workspace(world, REF, moment(now_s), SETTINGS)
    Applier(world).run(first, moment(now_s))
    second = plan_workspace(stale, REF, moment(now_s + 30), SETTINGS)
    assert set(_created_claims(second)) <= set(_created_claims(first))


@QUICK
@given(worlds(), TIMES)
def test_a_plan_is_a_function_of_its_arguments(world: World, now_s: int) -> None:
    before = deepcopy(world.bodies)
    first = plan_workspace(world, REF, moment(now_s), SETTINGS)
    assert plan_workspace(world, REF, moment(now_s), SETTINGS) == first
    assert world.bodies == before


@QUICK
@given(worlds(), worlds(), TIMES)
def test_what_is_known_of_earlier_plans_changes_none(world: World, other: World, now_s: int) -> None:
    """`plan.memo`: every memo holds all that its answer depends on."""
    for each in (world, other):
        _settle(each, Applier(each), now_s)
    for each in (world, other, world):
        warm = plan_workspace(each, REF, moment(now_s + 1), SETTINGS)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Known, "get", lambda *_: None)
            assert plan_workspace(each, REF, moment(now_s + 1), SETTINGS) == warm


@QUICK
@given(worlds(), TIMES)
def test_only_own_claims_are_deleted_and_each_by_its_uid(world: World, now_s: int) -> None:
    plan = plan_workspace(world, REF, moment(now_s), SETTINGS)
    for action in plan.actions:
        if isinstance(action, Delete):
            body = world.bodies[action.ref]
            assert body["metadata"]["uid"] == action.uid
            assert body["metadata"]["labels"]["kaito.sh/workspace"] == "phi"


@QUICK
@given(worlds(deleting=True), TIMES)
def test_a_deletion_finishes_or_names_what_it_waits_for(world: World, now_s: int) -> None:
    applier = Applier(world)
    _settle(world, applier, now_s)
    if REF not in world.bodies:
        assert _are_of_a_later_workspace(_live_claims(world))
        return
    blockers = world.bodies[REF]["status"]["blockers"]
    assert blockers and all(blocker["culprit"].startswith("nodeclaim/") for blocker in blockers)
    for body in list(world.bodies.values()):  # the provisioner releases the machines
        if body["kind"] == "NodeClaim" and body["metadata"].get("deletionTimestamp"):
            world.drop(ObjectRef("NodeClaim", "", body["metadata"]["name"]))
    _settle(world, applier, now_s + 60)
    assert REF not in world.bodies


@QUICK
@given(worlds(deleting=True), TIMES)
def test_an_uninstall_ends_without_the_provisioner_and_leaves_no_claim_that_is_not_on_its_way_out(
    world: World, now_s: int
) -> None:
    world.leaving.add(WORKSPACE)
    _settle(world, Applier(world), now_s)
    assert REF not in world.bodies
    assert _are_of_a_later_workspace(_live_claims(world))


@QUICK
@given(worlds(), TIMES)
def test_nothing_is_begun_for_a_kind_that_is_being_uninstalled(world: World, now_s: int) -> None:
    world.leaving.add(WORKSPACE)
    assert plan_workspace(world, REF, moment(now_s), SETTINGS).actions == ()


@QUICK
@given(worlds(), TIMES)
def test_every_wait_has_reason_culprit_and_since(world: World, now_s: int) -> None:
    _settle(world, Applier(world), now_s)
    status = world.bodies[REF]["status"]
    assert (status["state"] == "Ready") == (not [b for b in status["blockers"] if b["reason"] != "GPUCapacityFlapping"])
    for blocker in status["blockers"]:
        assert blocker["reason"] and blocker["message"] and blocker["culprit"] and blocker["since"]
    for item in status["conditions"]:
        assert item["observedGeneration"] == 1 and item["reason"] and item["lastTransitionTime"]


@QUICK
@given(worlds(), TIMES)
def test_an_event_tells_of_a_cause_once(world: World, now_s: int) -> None:
    applier = Applier(world)
    _settle(world, applier, now_s)
    told = [(event.reason, event.message) for event in applier.events]
    assert len(told) == len(set(told))


@QUICK
@given(worlds(), TIMES)
def test_the_graph_shows_the_planner_what_the_objects_say(world: World, now_s: int) -> None:
    graph = _graph_of(world)
    assert plan_workspace(GraphView(graph), REF, moment(now_s), SETTINGS) == plan_workspace(
        world, REF, moment(now_s), SETTINGS
    )


@QUICK
@given(worlds(), worlds(), TIMES)
def test_whatever_changes_the_plan_dirties_the_root(world: World, other: World, now_s: int) -> None:
    """Every object that a decision reads is watched, and its edges lead to the Workspace."""
    graph = _graph_of(world)
    view = GraphView(graph)
    for ref in sorted({*world.bodies, *other.bodies}):
        kind = next(kind for kind in graph.rows if kind.kind == ref.kind)
        before = plan_workspace(view, REF, moment(now_s), SETTINGS)
        old, new = world.bodies.get(ref), other.bodies.get(ref)
        if new is not None:
            fresh = deepcopy(new)
            fresh["metadata"]["resourceVersion"] = "2"
            dirtied = graph.apply(kind, Apply(ref, decode(fresh)))
        else:
            dirtied = graph.apply(kind, Deleted(ref, decode(old or {})))
        after = plan_workspace(view, REF, moment(now_s), SETTINGS)
        assert before == after or REF in dirtied, ref


def _graph_of(world: World) -> StateGraph:
    graph = StateGraph()
    for kind in graph.rows:
        if kind.kind in ("ConfigMap", "CustomResourceDefinition"):
            continue
        graph.apply(kind, Init())
        for ref, body in world.bodies.items():
            if ref.kind == kind.kind:
                graph.apply(kind, InitApply(ref, decode(body)))
        graph.apply(kind, InitDone(ResourceVersion("1")))
    return graph


def _live_claims(world: World) -> list[Json]:
    return [
        body
        for body in world.bodies.values()
        if body["kind"] == "NodeClaim"
        and body["metadata"]["labels"].get("kaito.sh/workspace") == "phi"
        and not body["metadata"].get("deletionTimestamp")
    ]


def _created_claims(plan: Plan) -> list[str]:
    return [a.ref.name for a in plan.actions if isinstance(a, Create) and a.kind.kind == "NodeClaim"]


def _are_of_a_later_workspace(claims: list[Json]) -> bool:
    """Another uid and not older than ours: a newer Workspace's, which a stale deletion must not touch."""
    return all(
        c["metadata"]["annotations"]["kaito.sh/workspace-uid"] == "uid-former"
        and c["metadata"]["creationTimestamp"] >= at(0)
        for c in claims
    )
