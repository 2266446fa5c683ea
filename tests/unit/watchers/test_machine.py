"""The list/watch protocol: whatever is lost on the way, applying the events yields what the server has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.core import NODE
from kaito.api.meta import ResourceVersion
from kaito.api.workspace import WORKSPACE
from kaito.state.events import Apply, Delete, Init, InitApply, InitDone
from kaito.state.kinds import KINDS
from kaito.state.store import Store
from kaito.state.view import InvalidObject
from kaito.watchers.machine import Broken, ListRequest, WatchMachine, WatchRequest

ROWS = {row.kind: row for row in KINDS}


def node(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "uid": f"u-{name}"}, **more}


def page(*items: Any, version: str = "10", continue_: str = "") -> bytes:
    metadata = {"resourceVersion": version} | ({"continue": continue_} if continue_ else {})
    return json.dumps({"kind": "NodeList", "metadata": metadata, "items": list(items)}).encode()


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def test_pages_become_one_list_and_then_a_watch_from_its_version() -> None:
    machine = WatchMachine(ROWS[NODE])
    assert machine.next_request() == ListRequest("")
    first = machine.receive_page(page(node("a", 1), continue_="more"))
    assert [type(event) for event in first] == [Init, InitApply]
    assert (machine.state, machine.next_request()) == ("Listing", ListRequest("more"))
    second = machine.receive_page(page(node("b", 2), version="12"))
    assert [type(event) for event in second] == [InitApply, InitDone]
    assert (machine.state, machine.next_request()) == ("Listed", WatchRequest(ResourceVersion("12")))


def watching() -> WatchMachine:
    machine = WatchMachine(ROWS[NODE])
    machine.receive_page(page())
    return machine


def test_events_and_bookmarks_advance_where_the_watch_resumes() -> None:
    machine = watching()
    added = machine.receive_line(line("ADDED", node("a", 11)))
    assert isinstance(added, Apply) and added.ref == NODE.ref("", "a")
    assert isinstance(machine.receive_line(line("DELETED", node("a", 12))), Delete)
    assert machine.receive_line(line("BOOKMARK", {"metadata": {"resourceVersion": "40"}})) is None
    assert (machine.has_bookmarks, machine.next_request()) == (True, WatchRequest(ResourceVersion("40")))


def test_a_bookmark_as_servers_write_it_does_not_break_the_watch() -> None:
    # Found by the simulator: the null made it a line that is no event, and every stream was opened anew each minute.
    for row in KINDS:
        machine = WatchMachine(row)
        machine.receive_page(page())
        metadata = {"resourceVersion": "40", "creationTimestamp": None}
        bookmark = {"kind": row.kind.kind, "apiVersion": row.kind.api_version, "metadata": metadata}
        more = {"spec": {"containers": None}, "status": {}} if row.kind.kind == "Pod" else {}
        assert machine.receive_line(line("BOOKMARK", bookmark | more)) is None
        assert (machine.has_bookmarks, machine.next_request()) == (True, WatchRequest(ResourceVersion("40")))
        assert machine.skipped == 0


def test_gone_means_list_again() -> None:
    machine = watching()
    assert machine.receive_line(line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})) is None
    assert (machine.state, machine.next_request()) == ("Empty", ListRequest(""))


@pytest.mark.parametrize(
    "bad",
    [line("ERROR", {"code": 500, "message": "etcd"}), b"{", b"[]", b'{"type":"ADDED"}', line("FROZEN", {})],
)
def test_anything_else_breaks_the_stream_and_keeps_its_place(bad: bytes) -> None:
    machine = watching()
    machine.receive_line(line("ADDED", node("a", 11)))
    with pytest.raises(Broken):
        machine.receive_line(bad)
    assert machine.next_request() == WatchRequest(ResourceVersion("11"))


def test_an_object_that_does_not_decode_is_counted_and_stops_nothing() -> None:
    machine = watching()
    assert machine.receive_line(line("MODIFIED", node("a", 11, status={"conditions": "none"}))) is None
    assert (machine.skipped, machine.next_request()) == (1, WatchRequest(ResourceVersion("11")))
    machine.gone()
    events = machine.receive_page(page(node("a", 1, status=3), node("b", 2)))
    assert [event.ref.name for event in events if isinstance(event, InitApply)] == ["b"]


def test_a_root_that_does_not_fit_is_an_invalid_value() -> None:
    machine = WatchMachine(ROWS[WORKSPACE])
    body = {"metadata": {"name": "w", "namespace": "d", "resourceVersion": "3", "uid": "u"}, "resource": {}}
    (_, event, _) = machine.receive_page(page(body))
    assert isinstance(event, InitApply) and isinstance(event.obj, InvalidObject)
    assert event.ref == WORKSPACE.ref("d", "w") == event.obj.ref


def test_a_page_that_is_no_list_breaks_and_starts_over() -> None:
    machine = WatchMachine(ROWS[NODE])
    machine.receive_page(page(node("a", 1), continue_="more"))
    with pytest.raises(Broken):
        machine.receive_page(b"<html>")
    assert machine.next_request() == ListRequest("")


MOVES = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "lose", "gone"]), st.sampled_from("abc")), min_size=1, max_size=30
)


@given(MOVES)
def test_after_losses_and_relists_the_store_is_what_the_server_has(moves: list[tuple[str, str]]) -> None:
    machine, store = WatchMachine(ROWS[NODE]), Store()
    server: dict[str, dict[str, Any]] = {}
    version = 10

    def relist() -> None:
        for event in machine.receive_page(page(*server.values(), version=str(version))):
            store.receive(event)

    relist()
    for what, name in moves:
        version += 1
        if what == "gone" or (what == "lose" and version):
            # History was compacted, with a change in it that was never sent.
            server.pop(name, None) if what == "lose" else server.__setitem__(name, node(name, version))
            machine.receive_line(line("ERROR", {"code": 410}))
            relist()
        elif what == "put":
            type_ = "MODIFIED" if name in server else "ADDED"
            server[name] = node(name, version)
            event = machine.receive_line(line(type_, server[name]))
            assert event is not None
            store.receive(event)
        elif name in server:
            event = machine.receive_line(
                line("DELETED", server.pop(name) | {"metadata": node(name, version)["metadata"]})
            )
            assert event is not None
            store.receive(event)
    assert {ref.name: obj.metadata.resource_version for ref, obj in store.items()} == {
        name: obj["metadata"]["resourceVersion"] for name, obj in server.items()
    }
