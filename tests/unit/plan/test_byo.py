"""Nodes that the user brings, and Workspaces that compete for them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito.api.meta import Json, ObjectRef, ResourceVersion
from kaito.plan.actions import Create, Plan
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from tests.builders import World, at, decode, moment, node, pod, stateful_set, workspace
from tests.unit.plan.applier import Applier

BYO = PlanSettings(node_provisioner="byo")
GPUS = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"}


def gpu_node(name: str, gpus: int = 1, **labels: str) -> Json:
    found = GPUS | {"apps": "llm", "nvidia.com/gpu.count": str(gpus)} | labels
    return node(name, gpus=gpus, labels=found)


def ws(name: str, *, target: int = 1, created: float = 0, labels: Json | None = None, **more: Any) -> Json:
    selector = labels or {"apps": "llm"}
    return workspace(
        name, instance_type=None, match_labels=selector, target=target, creationTimestamp=at(created), **more
    )


def ref(name: str) -> ObjectRef:
    return ObjectRef("Workspace", "default", name)


def plan(world: World, name: str, now_s: float = 10) -> Plan:
    return plan_workspace(world, ref(name), moment(now_s), BYO)


def starts(world: World, *names: str) -> list[str]:
    """Those of the Workspaces whose workload would be created now."""
    return [
        name
        for name in names
        if any(isinstance(a, Create) and a.kind.kind == "StatefulSet" for a in plan(world, name).actions)
    ]


def blocker(world: World, name: str) -> Json:
    Applier(world).run(plan(world, name), moment(10))
    found: Json = world.bodies[ref(name)]["status"]["blockers"][0]
    return found


def test_the_older_of_two_gets_the_node_and_the_other_is_told_who_has_it() -> None:
    world = World(gpu_node("n1"), ws("young", created=5), ws("old", created=1))
    assert starts(world, "young", "old") == ["old"]
    told = blocker(world, "young")
    assert (told["gate"], told["reason"], told["culprit"]) == ("NodeReady", "NodesTaken", "workspace/default/old")
    assert told["message"] == (
        "0 of 1 nodes are free: 1 of 1 that carry the labels are used by other Workspaces, n1 by workspace/default/old"
    )


def test_of_the_same_age_the_name_decides() -> None:
    assert starts(World(gpu_node("n1"), ws("b"), ws("a")), "a", "b") == ["a"]


def test_who_runs_already_is_not_displaced_by_an_older_one() -> None:
    world = World(gpu_node("n1"), ws("young", created=5), ws("old", created=1), stateful_set("young"))
    world.put(pod("young-0", owner="young", node="n1", ready=True))
    assert starts(world, "old") == []
    assert blocker(world, "old")["culprit"] == "workspace/default/young"


def test_two_of_two_nodes_each_never_hold_one_node_of_each_others() -> None:
    world = World(gpu_node("n1"), gpu_node("n2"), gpu_node("n3"))
    world.put(ws("a", target=2), ws("b", target=2, created=1))
    assert starts(world, "a", "b") == ["a"]
    world.put(gpu_node("n4"))
    assert starts(world, "a", "b") == ["a", "b"]


def test_one_that_cannot_start_leaves_the_nodes_to_one_that_can() -> None:
    world = World(gpu_node("n1"), ws("big", target=2), ws("small", created=1))
    assert starts(world, "big", "small") == ["small"]


def test_parts_of_one_node_are_shared_as_long_as_there_are_devices() -> None:
    half = {"partition": {"mode": "accelerator", "count": 2}}
    world = World(gpu_node("n1", 4), *(ws(name, resource=half, created=i) for i, name in enumerate("abc")))
    assert starts(world, "a", "b", "c") == ["a", "b"]


def test_a_workload_without_devices_takes_no_node_from_anybody() -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    world = World(gpu_node("n1"), ws("cpu", preset=None, template=template), ws("gpu", created=1))
    assert starts(world, "cpu", "gpu") == ["cpu", "gpu"]


def test_a_share_follows_the_pods_so_that_the_other_gets_what_is_left() -> None:
    world = World(gpu_node("n1"), gpu_node("n2"), ws("a"), ws("b", created=1), stateful_set("a"))
    world.put(pod("a-0", owner="a", node="n2", ready=True))
    Applier(world).run(plan(world, "b"), moment(10))
    assert world.bodies[ref("b")]["status"]["workerNodes"] == ["n1"]


def test_the_preferred_node_is_left_to_whom_prefers_it() -> None:
    world = World(gpu_node("n1"), gpu_node("n2"), ws("a", resource={"preferredNodes": ["n2"]}), ws("b", created=1))
    Applier(world).run(plan(world, "b"), moment(10))
    assert world.bodies[ref("b")]["status"]["workerNodes"] == ["n1"]


QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def worlds(draw: Any) -> World:
    """Workspaces a, b and c on up to three nodes with labels that overlap in chains."""
    world = World()
    for index, labels in enumerate(({"x": "1"}, {"x": "1", "y": "1"}, {"y": "1"})):
        if draw(st.booleans()):
            world.put(gpu_node(f"n{index}", draw(st.sampled_from([1, 2])), **labels))
    for index, name in enumerate("abc"):
        if draw(st.integers(0, 3)):
            selector = draw(st.sampled_from([{"x": "1"}, {"y": "1"}, {"apps": "llm"}]))
            meta = {"deletionTimestamp": at(5)} if draw(st.integers(0, 4)) == 0 else {}
            world.put(ws(name, labels=selector, created=draw(st.integers(0, 2)), generation=1, **meta))
            if draw(st.integers(0, 2)) == 0:
                world.put(stateful_set(name), pod(f"{name}-0", owner=name, node=f"n{index}"))
    return world


@QUICK
@given(worlds())
def test_no_device_is_promised_twice(world: World) -> None:
    """Each of these Workspaces takes one device: no more of them start or run than there are."""
    names = [name for name in "abc" if ref(name) in world.bodies]
    running = [r.name for r, b in world.bodies.items() if r.kind == "Pod" and b["spec"].get("nodeName")]
    nodes = {r.name: b for r, b in world.bodies.items() if r.kind == "Node"}
    offered = sum(int(b["status"]["allocatable"]["nvidia.com/gpu"]) for b in nodes.values())
    started = starts(world, *names)
    living = [name for name in running if is_on_a_node_of_its_own(world, name)]
    assert len(started) + len(living) <= max(offered, len(living))


def is_on_a_node_of_its_own(world: World, pod_name: str) -> bool:
    """Whether the pod's Workspace lives and still selects the node."""
    root = world.bodies.get(ref(pod_name[0]))
    found = world.bodies.get(
        ObjectRef("Node", "", world.bodies[ObjectRef("Pod", "default", pod_name)]["spec"]["nodeName"])
    )
    if root is None or found is None or "deletionTimestamp" in root["metadata"]:
        return False
    wanted = root["resource"]["labelSelector"]["matchLabels"].items()
    return bool(wanted <= found["metadata"]["labels"].items())


@QUICK
@given(worlds(), worlds())
def test_whatever_one_does_with_its_share_is_news_for_the_others(world: World, other: World) -> None:
    graph = graph_of(world)
    view = GraphView(graph)
    roots = [ref(name) for name in "abc"]
    for changed in sorted({*world.bodies, *other.bodies}):
        kind = next(kind for kind in graph.rows if kind.kind == changed.kind)
        before = {root: plan_workspace(view, root, moment(10), BYO) for root in roots}
        old, new = world.bodies.get(changed), other.bodies.get(changed)
        if new is not None:
            fresh = deepcopy(new)
            fresh["metadata"] |= {"resourceVersion": "2", "generation": 2}
            dirtied = graph.apply(kind, Apply(changed, decode(fresh)))
        else:
            dirtied = graph.apply(kind, Delete(changed, decode(old or {})))
        for root in roots:
            assert plan_workspace(view, root, moment(10), BYO) == before[root] or root in dirtied, (changed, root)


@QUICK
@given(worlds())
def test_the_graph_shows_the_planner_what_the_objects_say(world: World) -> None:
    view = GraphView(graph_of(world))
    for name in "abc":
        assert plan_workspace(view, ref(name), moment(10), BYO) == plan(world, name)


def graph_of(world: World) -> StateGraph:
    graph = StateGraph(shares_nodes=True)
    for kind in graph.rows:
        if kind.kind in ("ConfigMap", "CustomResourceDefinition"):
            continue
        graph.apply(kind, Init())
        for found, body in world.bodies.items():
            if found.kind == kind.kind:
                graph.apply(kind, InitApply(found, decode(body)))
        graph.apply(kind, InitDone(ResourceVersion("1")))
    return graph
