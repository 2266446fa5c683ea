"""The REST face: who is let in, what verbs answer, and in which shapes."""

from __future__ import annotations

import json
import ssl
from random import Random
from typing import Any

import aiohttp
import anyio
import pytest
import yaml

from kaito.clock import wall_clock
from kaito.local.http import guard, serve
from tests.unit.local.http.face import TABLE, config_map, face, workspace

MAPS = "/api/v1/namespaces/default/configmaps"
SPACES = "/apis/kaito.sh/v1beta1/namespaces/default/workspaces"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
async def test_nobody_is_let_in_without_token_or_from_another_place(headers: dict[str, str], status: int) -> None:
    async with face() as api:
        found = await api.ask("GET", "/api/v1/secrets", None, **headers)
        assert (found[0], found[1]["kind"], found[1]["code"]) == (status, "Status", status)


async def test_health_and_version_are_open() -> None:
    async with face() as api:
        for path in ("/healthz", "/readyz", "/livez"):
            assert await api.ask("GET", path, None, Authorization="") == (200, "ok")
        assert (await api.ask("GET", "/version", None, Authorization=""))[1]["minor"] == "36"


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with face() as api:
        body = config_map("a", data={"x": "y" * guard.BODY_BYTES_MAX})
        status, found = await api.ask("POST", MAPS, body)
        assert (status, found["reason"]) == (413, "RequestEntityTooLarge")


async def test_more_requests_than_the_limit_are_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS_MAX", 0)
    async with face() as api:
        async with api.request("GET", "/api") as found:
            assert (found.status, found.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"a: &x [1]\nb: *x", "application/yaml", 400),
        (b"a: [", "application/yaml", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"metadata":{"labels":{"a":1}}}', "application/json", 400),
        (b'{"metadata":{"name":["a"]}}', "application/json", 400),
        (b'{"data":{"a":{}}}', "application/json", 400),
        (b"k8s\0", "application/vnd.kubernetes.protobuf", 400),
        (b"x", "application/cbor", 415),
    ],
)
async def test_a_broken_body_is_the_senders_error(body: bytes, content_type: str, status: int) -> None:
    async with face() as api:
        async with api.request("POST", MAPS, data=body, headers={"Content-Type": content_type}) as found:
            assert found.status == status
            assert (await found.json())["message"]


async def test_create_read_replace_patch_and_delete() -> None:
    async with face() as api:
        status, made = await api.ask("POST", MAPS, config_map("a", data={"x": "1"}))
        assert (status, made["metadata"]["managedFields"][0]["manager"]) == (201, "Python")
        assert (await api.ask("POST", MAPS, config_map("a")))[1]["reason"] == "AlreadyExists"
        status, found = await api.ask("PUT", f"{MAPS}/a", config_map("a", data={"x": "2"}))
        assert (status, found["data"]) == (200, {"x": "2"})
        for patch, content_type in (
            ({"data": {"y": "3"}}, "application/merge-patch+json"),
            ([{"op": "add", "path": "/data/z", "value": "4"}], "application/json-patch+json"),
            ({"data": {"w": "5"}}, "application/strategic-merge-patch+json"),
        ):
            status, found = await api.ask("PATCH", f"{MAPS}/a", patch, **{"Content-Type": content_type})
            assert status == 200
        assert found["data"] == {"w": "5", "x": "2", "y": "3", "z": "4"}
        assert (await api.ask("DELETE", f"{MAPS}/a"))[1]["status"] == "Success"
        assert (await api.ask("GET", f"{MAPS}/a"))[0] == 404


async def test_apply_takes_yaml_needs_a_manager_and_makes_what_is_not_there() -> None:
    async with face() as api:
        headers = {"Content-Type": "application/apply-patch+yaml"}
        body = yaml.safe_dump(config_map("a", data={"x": "1"})).encode()
        async with api.request("PATCH", f"{MAPS}/a", data=body, headers=headers) as found:
            assert found.status == 422
        for status in (201, 200):
            async with api.request("PATCH", f"{MAPS}/a?fieldManager=me", data=body, headers=headers) as found:
                assert found.status == status
        other = yaml.safe_dump(config_map("a", data={"x": "2"})).encode()
        async with api.request("PATCH", f"{MAPS}/a?fieldManager=you", data=other, headers=headers) as found:
            assert found.status == 409
            assert (await found.json())["details"]["causes"][0]["field"] == ".data.x"


async def test_a_dry_run_changes_nothing() -> None:
    async with face() as api:
        assert (await api.ask("POST", f"{MAPS}?dryRun=All", config_map("a")))[0] == 201
        assert (await api.ask("GET", f"{MAPS}/a"))[0] == 404
        assert (await api.ask("POST", f"{MAPS}?dryRun=Some", config_map("a")))[0] == 422


async def test_unknown_fields_are_warned_of_refused_or_ignored_for_custom_and_built_in_kinds() -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "replica": 3}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    built_in = {"metadata": {"name": "s"}, "spec": spec | {"template": template}}
    async with face() as api:
        for path, body, field in (
            (SPACES, workspace("w", cout=3), "resource.cout"),
            (SETS, built_in, "spec.replica"),
        ):
            status, found = await api.ask("POST", f"{path}?fieldValidation=Strict", body)
            assert (status, f'strict decoding error: unknown field "{field}"' in found["message"]) == (400, True)
            async with api.request("POST", f"{path}?dryRun=All&fieldValidation=Warn", json=body) as warned:
                assert (warned.status, warned.headers["Warning"]) == (201, f'299 - "unknown field \\"{field}\\""')
            async with api.request("POST", f"{path}?fieldValidation=Ignore", json=body) as ignored:
                assert (ignored.status, "Warning" in ignored.headers) == (201, False)


async def test_a_wrong_type_in_a_built_in_kind_names_its_field() -> None:
    async with face() as api:
        body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "tty": 3}]}}
        status, found = await api.ask("POST", "/api/v1/namespaces/default/pods", body)
        assert status == 400 and "spec.containers[0].tty" in found["message"]


async def test_pages_of_a_list() -> None:
    async with face() as api:
        for name in "abc":
            await api.ask("POST", MAPS, config_map(name))
        seen: list[str] = []
        token = ""
        while True:
            _, page = await api.ask("GET", f"{MAPS}?limit=2&continue={token}")
            seen += [item["metadata"]["name"] for item in page["items"]]
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert seen == ["a", "b", "c"]
        assert (await api.ask("GET", f"{MAPS}?limit=-1"))[0] == 400


async def test_a_collection_is_deleted_by_its_selector() -> None:
    async with face() as api:
        for name, color in (("a", "red"), ("b", "blue")):
            await api.ask("POST", MAPS, config_map(name, metadata={"name": name, "labels": {"color": color}}))
        status, found = await api.ask("DELETE", f"{MAPS}?labelSelector=color%3Dred")
        assert (status, [item["metadata"]["name"] for item in found["items"]]) == (200, ["a"])
        _, left = await api.ask("GET", MAPS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["b"]
        assert (await api.ask("DELETE", "/api/v1/configmaps"))[0] == 405


async def test_a_table_has_the_columns_of_its_kind() -> None:
    async with face() as api:
        await api.ask("POST", SPACES, workspace("w"))
        for path in (SPACES, f"{SPACES}/w"):
            status, table = await api.ask("GET", path, None, Accept=TABLE)
            names = [column["name"].upper() for column in table["columnDefinitions"]]
            assert (status, table["kind"]) == (200, "Table")
            assert names == ["NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "JOBSTARTED", "WORKSPACESUCCEEDED",
                             "TARGETNODECOUNT", "STATE", "AGE"]  # fmt: skip
            (row,) = table["rows"]
            assert row["cells"][:3] == ["w", "Standard_NC24ads_A100_v4", None]
            assert row["object"]["kind"] == "PartialObjectMetadata"
        assert (await api.ask("GET", SPACES, None, Accept="application/vnd.kubernetes.protobuf"))[0] == 406


async def test_only_metadata_where_that_is_asked_for() -> None:
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    async with face() as api:
        await api.ask("POST", MAPS, config_map("a", data={"x": "1"}))
        _, found = await api.ask("GET", MAPS, None, Accept=accept)
        assert found["kind"] == "PartialObjectMetadataList" and "data" not in found["items"][0]


async def test_scale_is_a_resource_of_its_own() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": template}
    async with face() as api:
        await api.ask("POST", SETS, {"metadata": {"name": "s"}, "spec": spec})
        headers = {"Content-Type": "application/merge-patch+json"}
        status, found = await api.ask("PATCH", f"{SETS}/s/scale", {"spec": {"replicas": 3}}, **headers)
        assert (status, found["kind"], found["spec"]["replicas"]) == (200, "Scale", 3)
        assert (await api.ask("GET", f"{SETS}/s"))[1]["spec"]["replicas"] == 3
        assert (await api.ask("GET", f"{SETS}/s/nothing"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/apis/kaito.sh/v9/workspaces", 404),
        ("GET", "/api/v1/namespaces/default/nodes/x", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", MAPS, 405),
        ("POST", "/version", 405),
        ("POST", "/api/v1/namespaces/default/pods/p/exec", 501),
    ],
)
async def test_what_is_not_served_is_said_so(method: str, path: str, status: int) -> None:
    async with face() as api:
        assert (await api.ask(method, path, {} if method != "GET" else None))[0] == status


async def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    async with face() as api:
        port = int(api.served.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is in use: choose another with --port"):
            async with serve(api.core, api.pods, port=port, now=wall_clock, rng=Random(1)):
                pass


async def test_a_watch_tells_changes_and_ends_in_time() -> None:
    async with face() as api:
        await api.ask("POST", MAPS, config_map("a"))
        events = await lines_of(api, f"{MAPS}?watch=1&timeoutSeconds=1")
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [("ADDED", "a")]


async def test_a_watch_of_tables_carries_its_header_once() -> None:
    async with face() as api:
        for name in "ab":
            await api.ask("POST", MAPS, config_map(name))
        events = await lines_of(api, f"{MAPS}?watch=true&timeoutSeconds=1", Accept=TABLE)
        tables = [event["object"] for event in events]
        assert [len(table["columnDefinitions"]) for table in tables] == [3, 0]
        assert [table["rows"][0]["cells"][0] for table in tables] == ["a", "b"]


async def test_initial_events_end_with_a_bookmark() -> None:
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true"
    async with face() as api:
        await api.ask("POST", MAPS, config_map("a"))
        events = await lines_of(api, f"{MAPS}?{query}&resourceVersionMatch=NotOlderThan")
        assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
        assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_from_before_the_history_says_that_it_is_gone() -> None:
    async with face() as api:
        for _ in range(3):
            await api.ask("POST", MAPS, config_map("a"))
            await api.ask("DELETE", f"{MAPS}/a")
        api.core.store.compact(api.core.store.version)
        (event,) = await lines_of(api, f"{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=5")
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_client_that_hangs_up_leaves_no_watch() -> None:
    async with face() as api:
        listeners = len(api.core.store.listeners)
        async with api.request("GET", f"{MAPS}?watch=1") as found:
            await api.ask("POST", MAPS, config_map("a"))
            await found.content.readline()
            assert len(api.core.store.listeners) == listeners + 1
        with anyio.fail_after(10):
            while len(api.core.store.listeners) > listeners:  # noqa: ASYNC110 (the server notices when it does)
                await anyio.sleep(0.01)


async def test_open_watches_end_with_the_server() -> None:
    async with aiohttp.ClientSession() as outside:
        async with face() as api:
            headers = {"Authorization": f"Bearer {api.served.token}"}
            url = f"{api.served.url}{MAPS}?watch=1"
            found = await outside.get(url, headers=headers, ssl=ssl.create_default_context(cadata=api.served.ca_pem))
        assert await found.content.read() == b""


async def lines_of(api: Any, path: str, **headers: str) -> list[Any]:
    async with api.request("GET", path, headers=headers) as found:
        assert found.status == 200
        return [json.loads(line) async for line in found.content]


async def test_a_token_of_any_bytes_is_no_token() -> None:
    async with face() as api:
        found = await api.ask("GET", "/api", None, Authorization="Bearer \udcff\udcfe")
        assert found[0] == 401


@pytest.mark.parametrize(
    ("body", "why"),
    [("[" * 100_000, "levels deep"), ("a: &x [1]\nb: *x", "anchors"), ("a: !!python/name:os.system", "constructor")],
)
async def test_yaml_that_would_take_all_memory_or_run_code_is_refused(body: str, why: str) -> None:
    async with face() as api:
        async with api.request("POST", MAPS, data=body, headers={"Content-Type": "application/yaml"}) as found:
            assert (found.status, why in (await found.json())["message"]) == (400, True)


async def test_yaml_becomes_what_json_can_say() -> None:
    async with face() as api:
        body = "metadata: {name: a, labels: {1: a}}\ndata: {day: 2026-01-01}"
        async with api.request("POST", MAPS, data=body, headers={"Content-Type": "application/yaml"}) as found:
            made = await found.json()
        assert (found.status, made["metadata"]["labels"], made["data"]) == (201, {"1": "a"}, {"day": "2026-01-01"})


async def test_a_large_body_of_yaml_does_not_keep_others_waiting() -> None:
    async with face() as api:
        body = "a: [" + "x, " * 400_000 + "]"
        over: list[int] = []

        async def send() -> None:
            async with api.request("POST", MAPS, data=body, headers={"Content-Type": "application/yaml"}) as found:
                over.append(found.status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            while not over:  # decoding goes on in a thread: others are answered as long as it lasts
                assert (await api.ask("GET", "/api"))[0] == 200
        assert over == [422] or over == [400]
