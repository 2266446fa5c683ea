"""Laws of the store and of watches over random histories."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import Json
from kaito.local.apiserver import MERGE_PATCH, ApiServer, StatusError
from tests.unit.local.apiserver.core import config_map, find, make_server

NAMES = st.sampled_from("abc")
LABELS = st.sampled_from(["red", "blue", None])
Step: TypeAlias = tuple[str, str, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), NAMES, LABELS),
        st.tuples(st.just("label"), NAMES, LABELS),
        st.tuples(st.just("delete"), NAMES, st.none()),
    ),
    max_size=25,
)


def carry_out(server: ApiServer, steps: list[Step]) -> None:
    maps = find(server, "configmaps")
    for verb, name, color in steps:
        labels = {"metadata": {"labels": {"color": color}}}
        try:
            if verb == "create":
                body = config_map(name)
                body["metadata"]["labels"] = {"color": color} if color else {}
                server.create(maps, "default", body)
            elif verb == "label":
                server.patch(maps, "default", name, labels, MERGE_PATCH)
            else:
                server.delete(maps, "default", name)
        except StatusError as error:
            assert error.reason in ("AlreadyExists", "NotFound")


def replayed(events: list[tuple[str, Json]], known: dict[str, Json]) -> dict[str, Json]:
    """What a client knows after these events; it insists that they fit what it knew."""
    for type_, obj in events:
        name = obj["metadata"]["name"]
        assert (name in known) is (type_ != "ADDED")
        if type_ == "DELETED":
            del known[name]
        else:
            known[name] = obj
    return known


def listed(server: ApiServer, selector: str = "") -> dict[str, Json]:
    items = server.list(find(server, "configmaps"), "default", label_selector=selector)["items"]
    return {item["metadata"]["name"]: item for item in items}


@given(STEPS, STEPS, st.sampled_from(["", "color=red", "color!=red", "color in (red,blue)", "!color"]))
def test_a_list_and_the_watch_from_it_are_the_later_list(before: list[Step], after: list[Step], selector: str) -> None:
    server = make_server()
    carry_out(server, before)
    known, version = listed(server, selector), str(server.store.version)
    live = server.watch(find(server, "configmaps"), resource_version=version, label_selector=selector)
    carry_out(server, after)
    late = server.watch(find(server, "configmaps"), resource_version=version, label_selector=selector)
    events = live.take()
    assert late.take() == events
    assert replayed(events, dict(known)) == listed(server, selector)
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in events]
    assert versions == sorted(set(versions))


@given(STEPS, STEPS, st.integers(1, 3))
def test_pages_show_the_state_of_the_first_page(before: list[Step], after: list[Step], limit: int) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    carry_out(server, before)
    whole = list(listed(server).values())
    page = server.list(maps, "default", limit=limit)
    seen = list(page["items"])
    carry_out(server, after)
    while token := page["metadata"].get("continue"):
        page = server.list(maps, "default", limit=limit, continue_=token)
        seen += page["items"]
    assert seen == whole


@given(STEPS)
def test_recorded_commits_rebuild_the_state(steps: list[Step]) -> None:
    server = make_server()
    rebuilt = {(kind, place): obj for kind, found in server.store.objects.items() for place, obj in found.items()}
    server.on_commit = lambda commit: rebuilt.update({(commit.kind, commit.place): commit.new})
    carry_out(server, steps)
    later = make_server()
    later.load(server.store.version, [obj for obj in rebuilt.values() if obj is not None])
    assert later.dump() == server.dump()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_of_writers_that_read_the_same_version_one_wins(values: list[str]) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    read = server.create(maps, "default", config_map("a", x="0"))
    won = 0
    for value in values:
        try:
            server.update(maps, "default", "a", {**read, "data": {"x": value}})
            won += 1
        except StatusError as error:
            assert error.code == 409
    assert won == 1
    assert server.get(maps, "default", "a")["data"] == {"x": values[0]}
