"""The ring is bounded, and base and ring together are the whole world: a dump replays to the graph as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.core import CONFIG_MAP, NODE, POD
from kaito.api.meta import Json, ResourceKind, ResourceVersion
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone, WatchEvent
from kaito.state.graph import StateGraph
from kaito.state.invariants import check
from kaito.state.journal import Journal
from kaito.state.journal_lines import NoJournal, journal_lines, object_json, read_journal, replay_entry
from kaito.state.view import Answer
from tests.builders import config_map, decode, moment, node, node_claim, pod, ref_of, workspace

BODIES: tuple[Json, ...] = (
    workspace("phi"),
    workspace("other", config="settings"),
    workspace("broken", inference={"preset": 7}),
    node_claim("ws1", node="n1"),
    node("n1"),
    node("n2", gpus=None),
    pod("phi-0", node="n1", ready=True),
)
KIND: dict[str, ResourceKind] = {kind.kind: kind for kind in (WORKSPACE, NODE_CLAIM, NODE, POD)}


class Both:
    """A graph and a journal that hear the same."""

    def __init__(self, entries_max: int) -> None:
        self.graph, self.journal, self.clock = StateGraph(), Journal(entries_max), 0

    def now(self) -> Any:
        self.clock += 1
        return moment(self.clock)

    def hear(self, kind: ResourceKind, *events: WatchEvent) -> None:
        for event in events:
            self.graph.apply(kind, event)
            self.journal.heard(self.now(), kind, event)

    def relist(self, kind: ResourceKind, bodies: Iterable[Json]) -> None:
        listed = [InitApply(ref_of(body), decode(body)) for body in bodies]
        self.hear(kind, Init(), *listed, InitDone(ResourceVersion("1")))


def replayed(journal: Journal) -> StateGraph:
    graph = StateGraph()
    lines = list(journal_lines(journal, {}, actions_json=list))
    assert lines == list(journal_lines(journal, {}, actions_json=list))
    for entry in read_journal(lines)[1]:
        replay_entry(graph, entry)
    return graph


def content(graph: StateGraph) -> Any:
    objects = {kind: {ref: object_json(obj) for ref, obj in store.items()} for kind, store in graph.stores.items()}
    synced = {kind for kind, store in graph.stores.items() if store.is_synced}
    return objects, synced, graph.absent, graph.looked_up, graph.answers, graph.capabilities, set(graph.pointing)


steps = st.lists(
    st.tuples(st.sampled_from(["apply", "delete", "relist", "absent"]), st.sampled_from(BODIES), st.integers(1, 9)),
    max_size=25,
)


@given(steps, st.integers(1, 8))
def test_a_dump_replays_to_the_graph_as_it_is(done: list[tuple[str, Json, int]], entries_max: int) -> None:
    both = Both(entries_max)
    for kind in KIND.values():
        both.relist(kind, [])
    for step, body, version in done:
        kind, ref = KIND[body["kind"]], ref_of(body)
        changed = body | {"metadata": body["metadata"] | {"resourceVersion": str(version)}}
        if kind in both.graph.absent:
            both.relist(kind, [])  # as a stream does whose kind has appeared
        match step:
            case "apply":
                both.hear(kind, Apply(ref, decode(changed)))
            case "delete":
                both.hear(kind, Delete(ref, both.graph.stores[kind].get(ref)))
            case "relist":
                both.relist(kind, [other for other in BODIES[:version] if other["kind"] == kind.kind])
            case _:
                both.graph.mark_absent(kind)
                both.journal.record(both.now(), "absent", kind)
    again = replayed(both.journal)
    assert content(again) == content(both.graph)
    assert check(again) == []
    assert len(both.journal) <= entries_max


@pytest.mark.parametrize("entries_max", [1, 100])
def test_what_was_looked_up_and_answered_is_replayed_too(entries_max: int) -> None:
    both, phi = Both(entries_max), WORKSPACE.ref("default", "phi")
    both.relist(WORKSPACE, [workspace("phi")])
    found, missing, forgotten = (CONFIG_MAP.ref("default", name) for name in ("found", "missing", "forgotten"))
    for ref, obj in ((found, decode(config_map("found", a="b"))), (missing, None), (forgotten, None)):
        both.graph.apply_named(CONFIG_MAP, ref, obj)
        both.journal.record(both.now(), "named", CONFIG_MAP, ref, obj)
    both.graph.forget_named(CONFIG_MAP, forgotten)
    both.journal.record(both.now(), "forgotten", CONFIG_MAP, forgotten)
    answer = Answer("out of memory", moment(3))
    both.graph.record_answer(phi, "log", answer)
    both.journal.record(both.now(), "answered", ref=phi, content=("log", answer))
    both.journal.record(both.now(), "discovered", content=[1, 20])
    both.graph.capabilities = type(both.graph.capabilities)((1, 20))
    assert content(replayed(both.journal)) == content(both.graph)


def test_numbers_go_on_when_the_oldest_falls_out() -> None:
    journal = Journal(entries_max=2)
    for index in range(3):
        journal.record(moment(index), "planned", ref=WORKSPACE.ref("default", "phi"), content=[])
    assert [entry.seq for entry in journal.entries()] == [2, 3]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "line 1"),
        ([b'{"what":"journal","format":99,"settings":{}}'], "format 1"),
        ([b'{"what":"journal","format":1,"settings":{}}', b"{"], "line 2 is not JSON"),
        ([b'{"what":"journal","format":1,"settings":{}}', b'{"seq":1,"what":"applied"}'], "line 2 is no entry"),
        ([b'{"what":"journal","format":1,"settings":{}}', b"[]"], "line 2: expected an object"),
    ],
)
def test_what_is_no_journal_is_refused_with_its_line(lines: list[bytes], complaint: str) -> None:
    with pytest.raises(NoJournal, match=complaint):
        list(read_journal(lines)[1])
