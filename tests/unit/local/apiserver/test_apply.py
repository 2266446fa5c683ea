"""Server-side apply: ownership, conflicts, removal, as examples and as laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import Json
from kaito.kube.ownership import adopt
from kaito.local.apiserver import APPLY_PATCH, MERGE_PATCH, ApiServer, Resource, StatusError
from kaito.local.apiserver.fieldsets import from_fields, leaves_of, to_fields
from tests.unit.local.apiserver.core import config_map, find, make_server, stateful_set

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=4)


def put(server: ApiServer, resource: Resource, body: Json, manager: str = "m", *, force: bool = False) -> Json:
    name = body["metadata"]["name"]
    return server.patch(resource, "default", name, body, APPLY_PATCH, field_manager=manager, force=force)


@given(DATA, DATA)
def test_applying_twice_is_applying_once(first: dict[str, str], second: dict[str, str]) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    put(server, maps, config_map("a", **first))
    made = put(server, maps, config_map("a", **second))
    assert put(server, maps, config_map("a", **second)) == made
    assert (made.get("data") or {}) == second


@given(DATA, DATA, DATA)
def test_what_an_applier_leaves_out_goes_unless_another_holds_it(
    mine: dict[str, str], other: dict[str, str], later: dict[str, str]
) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    put(server, maps, config_map("a", **mine), "me", force=True)
    put(server, maps, config_map("a", **other), "other", force=True)
    made = put(server, maps, config_map("a", **later), "me", force=True)
    assert (made.get("data") or {}) == other | later


@given(DATA, DATA)
def test_a_conflict_names_exactly_what_differs(mine: dict[str, str], other: dict[str, str]) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    put(server, maps, config_map("a", **mine), "me")
    differing = {f".data.{key}" for key in mine if key in other and mine[key] != other[key]}
    if not differing:
        assert put(server, maps, config_map("a", **other), "other")["data"] == mine | other if mine | other else True
        return
    with pytest.raises(StatusError) as caught:
        put(server, maps, config_map("a", **other), "other")
    assert caught.value.code == 409
    assert {cause["field"] for cause in caught.value.details["causes"]} == differing
    assert 'conflict with "me"' in caught.value.message


@given(DATA)
def test_fields_survive_the_wire(data: dict[str, str]) -> None:
    obj = {"apiVersion": "apps/v1", "kind": "StatefulSet", **stateful_set("a", {"env": [
        {"name": key, "value": value} for key, value in data.items()]}), "data": data}  # fmt: skip
    paths = frozenset(leaves_of(obj, None))
    assert from_fields(to_fields(paths)) == paths


def test_what_was_posted_goes_from_an_apply_only_once_it_is_adopted() -> None:
    server = make_server()
    sets = find(server, "statefulsets")
    both = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    made = server.create(sets, "default", stateful_set("a", {"env": both}), field_manager="kaito")
    desired = stateful_set("a", {"env": both[1:]}, uid=made["metadata"]["uid"])

    def names(obj: Json) -> list[str]:
        return [item["name"] for item in obj["spec"]["template"]["spec"]["containers"][0].get("env") or ()]

    assert names(put(server, sets, desired, "kaito", force=True)) == ["A", "B"]
    found = server.get(sets, "default", "a")
    entries = adopt(found["metadata"]["managedFields"])
    fences = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
    patch: Json = {"metadata": fences | {"managedFields": entries}}
    server.patch(sets, "default", "a", patch, MERGE_PATCH, field_manager="kaito")
    assert names(put(server, sets, desired, "kaito", force=True)) == ["B"]
    nothing = stateful_set("a", None, uid=made["metadata"]["uid"])
    assert names(put(server, sets, nothing, "kaito", force=True)) == []


def test_an_update_takes_what_it_changes_from_the_applier() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    put(server, maps, config_map("a", x="1", y="1"), "me")
    server.patch(maps, "default", "a", {"data": {"x": "2"}}, MERGE_PATCH, field_manager="hand")
    with pytest.raises(StatusError, match='conflict with "hand"'):
        put(server, maps, config_map("a", x="1", y="1"), "me")
    assert put(server, maps, config_map("a", x="1", y="1"), "me", force=True)["data"] == {"x": "1", "y": "1"}


def test_apply_to_a_deleted_object_makes_it_anew_unless_a_uid_is_asked_for() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    made = put(server, maps, config_map("a", x="1"))
    server.delete(maps, "default", "a")
    body: Any = config_map("a", x="1")
    with pytest.raises(StatusError) as caught:
        put(server, maps, body | {"metadata": {"name": "a", "uid": made["metadata"]["uid"]}})
    assert caught.value.code == 409
    version = made["metadata"]["resourceVersion"]
    again = put(server, maps, body | {"metadata": {"name": "a", "resourceVersion": version}})
    assert again["metadata"]["uid"] != made["metadata"]["uid"]


def test_1_20_refuses_to_apply_what_it_does_not_know_and_drops_it_on_post() -> None:
    server = make_server((1, 20))
    sets, services = find(server, "statefulsets"), find(server, "services")
    body = stateful_set("a")
    body["spec"]["minReadySeconds"] = 1
    assert "minReadySeconds" not in server.create(sets, "default", body)["spec"]
    with pytest.raises(StatusError, match="field not declared in schema") as caught:
        put(server, sets, body)
    assert caught.value.code == 500
    service: Json = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    with pytest.raises(StatusError, match='omits key field "protocol"'):
        put(server, services, service)
    assert put(make_server(), services, service)["spec"]["ports"][0]["protocol"] == "TCP"
