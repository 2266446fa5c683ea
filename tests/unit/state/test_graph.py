"""The graph is what a fresh list would make of it, and every change reaches the roots that read it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.api.core import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    NODE,
    POD,
    ConfigMap,
    CustomResourceDefinition,
    definition_of,
)
from kaito.api.meta import Json, ObjectMeta, ObjectRef, ResourceKind, ResourceVersion
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.plan.workspace import plan_workspace
from kaito.settings import PlanSettings
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.invariants import check
from tests.builders import decode, moment, node, node_claim, pod, workspace

PHI = WORKSPACE.ref("default", "phi")
OTHER = WORKSPACE.ref("default", "other")
KINDS_BY_NAME: dict[str, ResourceKind] = {"Workspace": WORKSPACE, "NodeClaim": NODE_CLAIM, "Node": NODE, "Pod": POD}


def put(graph: StateGraph, body: Json) -> frozenset[ObjectRef]:
    kind = KINDS_BY_NAME[body["kind"]]
    ref = kind.ref(body["metadata"].get("namespace", ""), body["metadata"]["name"])
    return graph.apply(kind, Apply(ref, decode(body)))


def remove(graph: StateGraph, kind: ResourceKind, namespace: str, name: str) -> frozenset[ObjectRef]:
    ref = kind.ref(namespace, name)
    return graph.apply(kind, Delete(ref, graph.stores[kind].get(ref)))


def test_a_node_dirties_the_root_of_the_claim_that_became_it_whichever_comes_first() -> None:
    for order in (0, 1):
        graph = StateGraph()
        put(graph, workspace())
        objects = [node_claim("ws1", node="n1"), node("n1", labels={})]
        put(graph, objects[order])
        assert put(graph, objects[1 - order]) == {PHI}
        assert [n.metadata.name for n in GraphView(graph).nodes_of(PHI)] == ["n1"]


def test_a_node_dirties_exactly_the_roots_whose_selector_it_carries() -> None:
    graph = StateGraph()
    put(graph, workspace("phi", match_labels={"apps": "phi"}))
    put(graph, workspace("other", match_labels={"apps": "other"}))
    assert put(graph, node("n1", labels={"apps": "phi"})) == {PHI}
    assert put(graph, node("n1", labels={"apps": "other"})) == {PHI, OTHER}


def test_an_update_that_changes_only_the_resource_version_dirties_nobody() -> None:
    graph = StateGraph()
    put(graph, workspace())
    put(graph, node_claim("ws1", node="n1"))
    body = node("n1", labels={})
    put(graph, body)
    later = body | {"metadata": body["metadata"] | {"resourceVersion": "99"}}
    assert put(graph, later) == frozenset()
    assert GraphView(graph).nodes({})[0].metadata.resource_version == "99"


def test_a_relist_reports_what_vanished_and_keeps_the_rest() -> None:
    graph = StateGraph()
    put(graph, workspace())
    put(graph, node_claim("ws1"))
    put(graph, node_claim("ws2"))
    graph.apply(NODE_CLAIM, Init())
    graph.apply(NODE_CLAIM, InitApply(NODE_CLAIM.ref("", "ws2"), decode(node_claim("ws2"))))
    assert [c.metadata.name for c in GraphView(graph).claims_of(PHI)] == ["ws1", "ws2"]
    assert graph.apply(NODE_CLAIM, InitDone(ResourceVersion("5"))) == {PHI}
    assert [c.metadata.name for c in GraphView(graph).claims_of(PHI)] == ["ws2"]
    assert graph.missing()[0] == "workspaces" and "nodeclaims" not in graph.missing()


def test_a_config_map_is_referenced_looked_up_and_dirties_who_names_it() -> None:
    graph = StateGraph()
    put(graph, workspace(config="conf"))
    ref = CONFIG_MAP.ref("default", "conf")
    assert graph.referenced() == {ref}
    assert not GraphView(graph).is_synced_ref(CONFIG_MAP, "default", "conf")
    assert graph.apply_named(CONFIG_MAP, ref, None) == {PHI}
    assert GraphView(graph).is_synced_ref(CONFIG_MAP, "default", "conf")
    found = ConfigMap(ObjectMeta(name="conf", namespace="default"), {"k": "v"})
    assert graph.apply_named(CONFIG_MAP, ref, found) == {PHI}
    assert GraphView(graph).config_map("default", "conf") == found
    assert graph.apply_named(CONFIG_MAP, ref, None) == {PHI}
    assert GraphView(graph).config_map("default", "conf") is None


def test_an_absent_kind_is_synced_empty_and_dirties_all_roots_once() -> None:
    graph = StateGraph()
    put(graph, workspace())
    assert graph.mark_absent(NODE_CLAIM) == {PHI}
    assert graph.mark_absent(NODE_CLAIM) == frozenset()
    assert (GraphView(graph).is_synced(NODE_CLAIM), GraphView(graph).is_absent(NODE_CLAIM)) == (True, True)


def test_a_definition_that_begins_to_go_dirties_every_root_of_its_kind() -> None:
    graph = StateGraph()
    put(graph, workspace("phi"))
    put(graph, workspace("other"))
    ref = definition_of(WORKSPACE)

    def crd(name: str, **meta: str) -> CustomResourceDefinition:
        return CustomResourceDefinition(ObjectMeta(name=name, **meta))

    graph.apply(CUSTOM_RESOURCE_DEFINITION, Apply(ref, crd(ref.name)))
    assert not GraphView(graph).is_leaving(WORKSPACE)
    gone = crd(ref.name, deletion_timestamp="2026-01-31T12:00:00Z")
    assert graph.apply(CUSTOM_RESOURCE_DEFINITION, Apply(ref, gone)) == {PHI, OTHER}
    assert GraphView(graph).is_leaving(WORKSPACE) and not GraphView(graph).is_leaving(NODE_CLAIM)
    another = CUSTOM_RESOURCE_DEFINITION.ref("", "others.example.com")
    assert graph.apply(CUSTOM_RESOURCE_DEFINITION, Apply(another, crd(another.name))) == set()


def test_a_root_that_does_not_fit_its_model_is_kept_as_such_and_planned() -> None:
    graph = StateGraph()
    for kind in graph.rows:
        graph.apply(kind, Init())
        graph.apply(kind, InitDone(ResourceVersion("1")))
    body = workspace()
    body["resource"] = {"instanceType": 7}
    assert put(graph, body) == {PHI}
    plan = plan_workspace(GraphView(graph), PHI, moment(), PlanSettings())
    assert plan.root == PHI and plan.actions


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("workspace"), NAMES, NAMES),
        st.tuples(st.just("claim"), NAMES, NAMES),
        st.tuples(st.just("node"), NAMES, NAMES),
        st.tuples(st.just("pod"), NAMES, NAMES),
        st.tuples(st.just("drop"), st.sampled_from(["Workspace", "NodeClaim", "Node", "Pod"]), NAMES),
    ),
    max_size=25,
)


def step(graph: StateGraph, move: tuple[str, str, str]) -> frozenset[ObjectRef]:
    what, first, second = move
    match what:
        case "workspace":
            return put(graph, workspace(first, match_labels={"apps": second}))
        case "claim":
            return put(graph, node_claim(first, owner=second, owner_uid=None, node=second))
        case "node":
            return put(graph, node(first, labels={"apps": second}))
        case "pod":
            return put(graph, pod(first, owner=second))
        case _:
            kind = KINDS_BY_NAME[first]
            return remove(graph, kind, "default" if kind.namespaced else "", second)


@settings(max_examples=150)
@given(STEPS)
def test_after_any_history_the_graph_equals_one_rebuilt_from_lists(moves: list[Any]) -> None:
    graph = StateGraph()
    for move in moves:
        step(graph, move)
    assert check(graph) == []


@settings(max_examples=100)
@given(STEPS, st.integers(0, 24))
def test_a_root_whose_answers_changed_is_dirtied(moves: list[Any], cut: int) -> None:
    def seen(graph: StateGraph) -> dict[ObjectRef, Any]:
        view = GraphView(graph)
        return {
            root: (
                [c.status for c in view.claims_of(root)],
                [(n.metadata.name, n.status) for n in view.nodes_of(root)],
                [(p.metadata.name, p.status) for p in view.pods_of(root)],
            )
            for root in graph.roots()
        }

    graph = StateGraph()
    for index, move in enumerate(moves):
        if index < cut:
            step(graph, move)
            continue
        before = seen(graph)
        dirtied = step(graph, move)
        after = seen(graph)
        changed = {root for root in set(before) & set(after) if before[root] != after[root]}
        assert changed <= dirtied
