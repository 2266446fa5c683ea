"""Writes, versions, watches and deletion, as a client of a kube-apiserver knows them."""

from __future__ import annotations

from typing import Any

import pytest

from kaito.local.apiserver import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Admission, StatusError
from kaito.local.apiserver.json_values import DEPTH_MAX
from tests.unit.local.apiserver.core import (
    config_map,
    find,
    install_workspaces,
    make_server,
    owner,
    pod,
    stateful_set,
    workspace,
)


def test_a_stale_resource_version_is_a_conflict_and_the_current_one_is_not() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    first = server.create(maps, "default", config_map("a", x="1"))
    server.update(maps, "default", "a", {**first, "data": {"x": "2"}})
    with pytest.raises(StatusError) as caught:
        server.update(maps, "default", "a", {**first, "data": {"x": "3"}})
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert "the object has been modified" in caught.value.message
    assert server.get(maps, "default", "a")["data"] == {"x": "2"}


def test_a_write_that_changes_nothing_bumps_nothing_and_is_not_seen() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    made = server.create(maps, "default", config_map("a", x="1"))
    watch = server.watch(maps, resource_version=made["metadata"]["resourceVersion"])
    again = server.patch(maps, "default", "a", {"data": {"x": "1"}}, MERGE_PATCH, field_manager="other")
    assert again == made
    assert watch.take() == []


def test_another_uid_is_a_conflict_for_put_and_delete_and_invalid_for_patch() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    server.create(maps, "default", config_map("a"))
    other: Any = {"metadata": {"name": "a", "uid": "x"}}
    for call, code, message in (
        (lambda: server.update(maps, "default", "a", other), 409, "UID in precondition: x"),
        (lambda: server.delete(maps, "default", "a", {"preconditions": {"uid": "x"}}), 409, "UID in precondition: x"),
        (lambda: server.patch(maps, "default", "a", other, MERGE_PATCH), 422, "metadata.uid"),
    ):
        with pytest.raises(StatusError) as caught:
            call()
        assert caught.value.code == code
        assert message in caught.value.message


def test_generation_counts_changes_of_the_desired_state_alone() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    assert server.create(workspaces, "default", workspace())["metadata"]["generation"] == 1
    for patch, subresource, generation in (
        ({"status": {"state": "Ready"}}, "status", 1),
        ({"metadata": {"labels": {"a": "b"}}}, "", 1),
        ({"resource": {"count": 2}}, "", 2),
    ):
        made = server.patch(workspaces, "default", "ws", patch, MERGE_PATCH, subresource=subresource)
        assert made["metadata"]["generation"] == generation


def test_status_and_the_rest_are_written_apart() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    server.create(workspaces, "default", workspace() | {"status": {"state": "Ready"}})
    both: Any = {"status": {"state": "Pending"}, "resource": {"count": 3}}
    made = server.patch(workspaces, "default", "ws", both, MERGE_PATCH)
    assert "status" not in made
    assert made["resource"]["count"] == 3
    made = server.patch(
        workspaces, "default", "ws", both | {"resource": {"count": 9}}, MERGE_PATCH, subresource="status"
    )
    assert (made["status"]["state"], made["resource"]["count"]) == ("Pending", 3)


def test_a_wrong_type_names_field_and_value() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    body = workspace()
    body["resource"]["count"] = "many"
    with pytest.raises(StatusError) as caught:
        server.create(workspaces, "default", body)
    assert caught.value.code == 422
    assert 'resource.count in body must be of type integer: "string"' in caught.value.message


@pytest.mark.parametrize(
    ("emulate", "validation", "outcome"),
    [((1, 36), "Strict", 400), ((1, 36), "Warn", 1), ((1, 36), "Ignore", 0), ((1, 20), "Strict", 0)],
)
def test_an_unknown_field_is_refused_warned_of_or_dropped(
    emulate: tuple[int, int], validation: str, outcome: int
) -> None:
    server = make_server(emulate)
    workspaces = install_workspaces(server)
    body = workspace()
    body["resource"]["typo"] = 1
    if outcome == 400:
        with pytest.raises(StatusError, match=r'unknown field "resource\.typo"'):
            server.create(workspaces, "default", body, field_validation=validation)
        return
    made = server.create(workspaces, "default", body, field_validation=validation)
    assert "typo" not in made["resource"]
    assert len(server.warnings) == outcome


def test_finalizers_keep_a_deleted_object_until_the_last_is_gone() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    body = workspace()
    body["metadata"]["finalizers"] = ["kaito.sh/a"]
    server.create(workspaces, "default", body)
    watch = server.watch(workspaces, resource_version=str(server.store.version))
    assert server.delete(workspaces, "default", "ws")["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    with pytest.raises(StatusError, match="no new finalizers can be added"):
        patch = {"metadata": {"finalizers": ["kaito.sh/a", "kaito.sh/b"]}}
        server.patch(workspaces, "default", "ws", patch, MERGE_PATCH)
    server.patch(workspaces, "default", "ws", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    assert [type_ for type_, _ in watch.take()][-1] == "DELETED"
    with pytest.raises(StatusError) as caught:
        server.get(workspaces, "default", "ws")
    assert caught.value.code == 404


def test_a_bound_pod_gets_its_grace_and_an_unbound_one_goes_at_once() -> None:
    server = make_server()
    pods = find(server, "pods")
    for name in ("bound", "free"):
        server.create(pods, "default", pod(name))
    binding = {"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}}
    server.create(pods, "default", binding, subresource="binding", name="bound")
    assert server.delete(pods, "default", "free")["status"] == "Success"
    dying = server.delete(pods, "default", "bound")
    assert dying["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:30Z"
    assert server.delete(pods, "default", "bound", {"gracePeriodSeconds": 0})["status"] == "Success"
    assert server.list(pods)["items"] == []


def test_a_pod_is_bound_once() -> None:
    server = make_server()
    pods = find(server, "pods")
    server.create(pods, "default", pod("a"))
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
    server.create(pods, "default", binding, subresource="binding", name="a")
    with pytest.raises(StatusError, match='pod a is already assigned to node "n"'):
        server.create(pods, "default", binding, subresource="binding", name="a")


def test_dependants_go_with_their_last_owner() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    owners = [server.create(maps, "default", config_map(name)) for name in ("a", "b")]
    child = config_map("child")
    child["metadata"]["ownerReferences"] = [owner("ConfigMap", "v1", item) for item in owners]
    server.create(maps, "default", child)
    server.delete(maps, "default", "a")
    assert [item["name"] for item in server.get(maps, "default", "child")["metadata"]["ownerReferences"]] == ["b"]
    server.delete(maps, "default", "b")
    assert [item["metadata"]["name"] for item in server.list(maps)["items"]] == []


def test_orphans_stay_and_foreground_waits_for_blocking_dependants() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    for policy, left in (("Orphan", ["child"]), ("Foreground", ["child", "owner"])):
        made = server.create(maps, "default", config_map("owner"))
        child = config_map("child")
        references = [owner("ConfigMap", "v1", made, blockOwnerDeletion=True)]
        child["metadata"] |= {"ownerReferences": references, "finalizers": ["a.b/c"]}
        server.create(maps, "default", child)
        server.delete(maps, "default", "owner", {"propagationPolicy": policy})
        assert [item["metadata"]["name"] for item in server.list(maps)["items"]] == left
        server.patch(maps, "default", "child", {"metadata": {"finalizers": None}}, MERGE_PATCH)
        if policy == "Orphan":
            server.delete(maps, "default", "child")
    assert server.list(maps)["items"] == []


def test_a_cluster_scoped_object_of_a_namespaced_owner_is_never_collected_and_an_event_says_so() -> None:
    server = make_server()
    maps, nodes, events = find(server, "configmaps"), find(server, "nodes"), find(server, "events")
    made = server.create(maps, "default", config_map("owner"))
    server.create(nodes, "", {"metadata": {"name": "n", "ownerReferences": [owner("ConfigMap", "v1", made)]}})
    server.delete(maps, "default", "owner")
    assert server.get(nodes, "", "n")["metadata"]["name"] == "n"
    (event,) = server.list(events)["items"]
    assert event["reason"] == "OwnerRefInvalidNamespace"


def test_a_deleted_namespace_is_emptied_takes_nothing_new_and_goes() -> None:
    server = make_server()
    spaces, maps = find(server, "namespaces"), find(server, "configmaps")
    server.create(spaces, "", {"metadata": {"name": "team"}})
    held = config_map("held")
    held["metadata"]["finalizers"] = ["a.b/c"]
    server.create(maps, "team", held)
    server.create(maps, "team", config_map("free"))
    assert server.delete(spaces, "", "team")["status"]["phase"] == "Terminating"
    with pytest.raises(StatusError, match="is being terminated"):
        server.create(maps, "team", config_map("late"))
    assert [item["metadata"]["name"] for item in server.list(maps, "team")["items"]] == ["held"]
    server.patch(maps, "team", "held", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    with pytest.raises(StatusError, match='namespaces "team" not found'):
        server.get(spaces, "", "team")


def test_a_deleted_definition_takes_its_objects_along_and_is_no_longer_served() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    server.create(workspaces, "default", workspace())
    server.delete(find(server, "customresourcedefinitions"), "", "workspaces.kaito.sh")
    with pytest.raises(StatusError) as caught:
        server.registry.find("kaito.sh", "v1beta1", "workspaces")
    assert caught.value.code == 404
    assert server.store.objects.get(workspaces.key) == {}


def test_both_versions_of_a_workspace_show_the_same_object() -> None:
    server = make_server()
    install_workspaces(server)
    older = server.registry.find("kaito.sh", "v1alpha1", "workspaces")
    newer = server.registry.find("kaito.sh", "v1beta1", "workspaces")
    made = server.create(newer, "default", workspace())
    seen = server.get(older, "default", "ws")
    assert seen["apiVersion"] == "kaito.sh/v1alpha1"
    assert seen["metadata"]["uid"] == made["metadata"]["uid"]


def test_refusals_of_admission_reach_the_one_who_applies_but_never_block_a_deletion() -> None:
    def refuse(operation: str, resource: Any, old: Any, new: Any) -> Admission:
        is_wrong = (new.get("resource") or {}).get("count") == 9
        return Admission({"message": "count: 9 is too many"} if is_wrong else None)

    server = make_server(admit=[refuse])
    workspaces = install_workspaces(server)
    body = workspace()
    body["metadata"]["finalizers"] = ["kaito.sh/a"]
    server.create(workspaces, "default", body)
    too_many: Any = {"resource": {"count": 9}}
    with pytest.raises(StatusError) as caught:
        server.patch(workspaces, "default", "ws", too_many, MERGE_PATCH)
    assert caught.value.message == (
        'admission webhook "validation.workspace.kaito.sh" denied the request: count: 9 is too many'
    )
    server.delete(workspaces, "default", "ws")
    server.patch(workspaces, "default", "ws", too_many | {"metadata": {"finalizers": None}}, MERGE_PATCH)
    assert server.list(workspaces)["items"] == []


def test_an_expired_continue_token_is_gone_and_a_fresh_one_shows_the_old_state() -> None:
    server = make_server(history_max=20)
    maps = find(server, "configmaps")
    for name in "abcd":
        server.create(maps, "default", config_map(name))
    page = server.list(maps, limit=2)
    server.delete(maps, "default", "c")
    server.create(maps, "default", config_map("e"))
    rest = server.list(maps, limit=2, continue_=page["metadata"]["continue"])
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]
    for number in range(30):
        server.create(maps, "default", config_map(f"x{number}"))
    with pytest.raises(StatusError) as caught:
        server.list(maps, limit=2, continue_=page["metadata"]["continue"])
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_a_watch_from_a_compacted_version_ends_with_a_410() -> None:
    server = make_server(history_max=5)
    maps = find(server, "configmaps")
    for number in range(10):
        server.create(maps, "default", config_map(f"x{number}"))
    watch = server.watch(maps, resource_version="1")
    ((type_, status),) = watch.take()
    assert (type_, status["code"], status["reason"], watch.closed) == ("ERROR", 410, "Expired", True)


def test_json_patch_tests_before_it_changes() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    server.create(maps, "default", config_map("a", x="1"))
    steps = [{"op": "test", "path": "/data/x", "value": "2"}, {"op": "remove", "path": "/data/x"}]
    with pytest.raises(StatusError) as caught:
        server.patch(maps, "default", "a", steps, JSON_PATCH)
    assert caught.value.code == 422
    steps[0]["value"] = "1"
    assert server.patch(maps, "default", "a", steps, JSON_PATCH)["data"] == {}


def test_strategic_merge_patch_knows_containers_by_name() -> None:
    server = make_server()
    sets = find(server, "statefulsets")
    server.create(
        sets, "default", stateful_set("a", {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})
    )
    container = {"name": "c", "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    made = server.patch(sets, "default", "a", patch, STRATEGIC_PATCH)
    (found,) = made["spec"]["template"]["spec"]["containers"]
    assert (found["image"], [item["name"] for item in found["env"]]) == ("i:1", ["B", "C"])


def test_a_stateful_set_keeps_its_service_name() -> None:
    server = make_server()
    sets = find(server, "statefulsets")
    server.create(sets, "default", stateful_set("a"))
    with pytest.raises(StatusError, match="updates to statefulset spec for fields other than 'replicas'"):
        server.patch(sets, "default", "a", {"spec": {"serviceName": "other"}}, MERGE_PATCH)


def test_quantities_are_stored_in_canonical_form() -> None:
    server = make_server()
    body = pod("a")
    body["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m", "memory": "1024Mi"}}
    resources = server.create(find(server, "pods"), "default", body)["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}


def test_endpoints_refuse_loopback() -> None:
    server = make_server()
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 1}]}]
    with pytest.raises(StatusError, match="may not be in the loopback range"):
        server.create(find(server, "endpoints"), "default", {"metadata": {"name": "a"}, "subsets": subsets})


def test_services_get_addresses_of_their_own() -> None:
    server = make_server()
    services = find(server, "services")
    made = [
        server.create(services, "default", {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        for name in ("a", "b")
    ]
    assert made[0]["spec"]["clusterIP"] != made[1]["spec"]["clusterIP"]
    headless = {"metadata": {"name": "c"}, "spec": {"clusterIP": "None"}}
    assert server.create(services, "default", headless)["spec"]["clusterIP"] == "None"


def test_scale_is_a_view_of_replicas() -> None:
    server = make_server()
    sets = find(server, "statefulsets")
    server.create(sets, "default", stateful_set("a"))
    scale = server.get(sets, "default", "a", subresource="scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "a=b")
    server.patch(sets, "default", "a", {"spec": {"replicas": 3}}, MERGE_PATCH, subresource="scale")
    found = server.get(sets, "default", "a")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", ""])
def test_a_name_that_dns_refuses_is_invalid(name: str) -> None:
    server = make_server()
    with pytest.raises(StatusError, match=r"metadata\.name"):
        server.create(find(server, "configmaps"), "default", config_map(name))


def test_what_was_dumped_lives_on() -> None:
    server = make_server()
    workspaces = install_workspaces(server)
    server.create(workspaces, "default", workspace())
    dump = server.dump()
    later = make_server()
    later.load(dump["version"], dump["objects"])
    assert later.dump() == dump
    assert later.get(workspaces, "default", "ws") == server.get(workspaces, "default", "ws")
    assert later.list(workspaces)["metadata"]["resourceVersion"] == str(dump["version"])


def test_dry_run_changes_nothing() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    before = server.dump()
    assert server.create(maps, "default", config_map("a"), dry_run=True)["metadata"]["uid"]
    assert server.dump() == before


def test_what_is_nested_too_deeply_for_the_encoders_never_gets_into_the_store() -> None:
    server = make_server()
    spaces = install_workspaces(server)
    inner: Any = 1
    for _ in range(DEPTH_MAX):
        inner = {"a": inner}
    with pytest.raises(StatusError, match="nested too deeply") as caught:
        server.create(spaces, "default", workspace() | {"inference": {"template": inner}})
    assert caught.value.code == 400
    server.create(spaces, "default", workspace() | {"inference": {"template": {"a": {}}}})
    deeper = [{"op": "copy", "from": "/inference/template", "path": "/inference/template/a"}]
    with pytest.raises(StatusError, match="nested too deeply"):
        server.patch(spaces, "default", "ws", deeper * DEPTH_MAX, JSON_PATCH)


def test_copies_of_copies_in_a_json_patch_are_bounded() -> None:
    server = make_server()
    maps = find(server, "configmaps")
    server.create(maps, "default", config_map("a", x="y" * 1_000))
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(40)]
    with pytest.raises(StatusError) as caught:
        server.patch(maps, "default", "a", doubling, JSON_PATCH)
    assert (caught.value.code, caught.value.reason) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("patch", [{"kind": "Pod"}, {"apiVersion": "v1"}, {"kind": None}])
def test_a_patch_cannot_make_an_object_one_of_another_kind(patch: Any) -> None:
    server = make_server()
    spaces = install_workspaces(server)
    server.create(spaces, "default", workspace())
    with pytest.raises(StatusError, match="does not match the expected API version") as caught:
        server.patch(spaces, "default", "ws", patch, MERGE_PATCH)
    assert caught.value.code == 400


@pytest.mark.parametrize("fields", [{"f:x": [1]}, {"f:x": {"f:y": "z"}}, 5])
def test_managed_fields_that_are_none_are_refused(fields: Any) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    server.create(maps, "default", config_map("a"))
    patch = {"metadata": {"managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": fields}]}}
    with pytest.raises(StatusError, match="managedFields") as caught:
        server.patch(maps, "default", "a", patch, MERGE_PATCH)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"labels": {"a b": "c"}}, "name part must consist of"),
        ({"name": "a\n"}, "RFC 1123"),
        ({"labels": {"a": "c\n"}}, "a valid label must"),
        ({"labels": {"": "c"}}, "name part must be non-empty"),
        ({"labels": {"a b/c": "d"}}, "prefix part"),
        ({"labels": {"a/b/c": "d"}}, "prefix part"),
        ({"annotations": {"a b": "c"}}, "name part must consist of"),
        ({"annotations": {"a": "x" * (256 << 10)}}, "Too long: may not be more than 262144 bytes"),
    ],
)
def test_names_and_keys_and_size_of_labels_and_annotations_are_checked(metadata: Any, why: str) -> None:
    server = make_server()
    maps = find(server, "configmaps")
    with pytest.raises(StatusError, match=why) as caught:
        server.create(maps, "default", {"metadata": {"name": "a", **metadata}})
    assert caught.value.code == 422


@pytest.mark.parametrize("name", ["default", "kube-system"])
def test_the_namespaces_that_every_cluster_has_cannot_be_deleted(name: str) -> None:
    server = make_server()
    with pytest.raises(StatusError, match="this namespace may not be deleted") as caught:
        server.delete(find(server, "namespaces"), "", name)
    assert caught.value.code == 403
