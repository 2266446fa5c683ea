"""What every KubeClient does: one suite for the core in process, the core over HTTP and a real API server.

The table of docs' "What the API servers really do" is here, row by row.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from kaito.api.core import CONFIG_MAP, ENDPOINTS, NAMESPACE, NODE, POD, SERVICE
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.kube.client import KubeClient, Scope
from kaito.kube.errors import AlreadyExists, ApiError, Conflict, Gone, Invalid, NotFound
from kaito.kube.ownership import adopt
from tests.contract.clients import EMULATED, OVER_HTTP, open_client
from tests.integration.controlplane import assets, control_plane

REAL = pytest.param(
    "real",
    marks=[
        pytest.mark.real_apiserver,
        pytest.mark.timeout(300),
        pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
    ],
)
SPACES = itertools.count()
WATCH_S = 10
OTHER_UID = "11111111-1111-1111-1111-111111111111"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    if assets() is None:
        yield None
        return
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


@pytest.fixture(params=[*EMULATED, *OVER_HTTP, REAL])
async def client(request: pytest.FixtureRequest, kubeconfig: Path | None, tmp_path: Path) -> AsyncIterator[KubeClient]:
    async with open_client(request.param, kubeconfig, tmp_path) as found:
        yield found


@pytest.fixture
async def space(client: KubeClient) -> str:
    """A namespace of the test's own."""
    name = f"contract-{next(SPACES)}"
    await client.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def body(kind: ResourceKind, name: str, metadata: Json | None = None, **rest: Any) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **(metadata or {})}, **rest}


def stateful_set(name: str, env: list[Json] | None = None, **spec: Any) -> Json:
    container = {"name": "c", "image": "i:1"} | ({"env": env} if env is not None else {})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    found = {"serviceName": "h", "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template} | spec
    return body(STATEFUL_SET, name, spec=found)


def workspace(name: str) -> Json:
    resource = {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "phi"}}}
    return body(WORKSPACE, name, resource=resource, inference={"preset": {"name": "phi-3.5-mini-instruct"}})


async def listed(client: KubeClient, kind: ResourceKind, scope: Scope) -> Json:
    found: Json = json.loads(await client.list_page(kind, scope))
    return found


def names(page: Json) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


async def events(client: KubeClient, kind: ResourceKind, scope: Scope, version: str, count: int) -> list[Json]:
    """The next so many events that are no bookmarks."""
    found: list[Json] = []
    rest = b""
    async with client.open_watch(kind, scope, resource_version=version, timeout_s=WATCH_S) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            found += [event for line in lines if (event := json.loads(line))["type"] != "BOOKMARK"]
            if len(found) >= count:
                break
    return found


def short(found: list[Json]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


async def test_what_exists_is_not_made_again_and_what_does_not_is_not_found(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a", data={"x": "1"}))
    assert await client.read(CONFIG_MAP, CONFIG_MAP.ref(space, "a")) == made
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a"))
    for call in (
        client.read(CONFIG_MAP, CONFIG_MAP.ref(space, "b")),
        client.merge_patch(CONFIG_MAP, CONFIG_MAP.ref(space, "b"), {"data": {}}),
        client.create(CONFIG_MAP, "no-such-namespace", body(CONFIG_MAP, "a")),
        client.read(ResourceKind("no.such", "v1", "Thing", "things", True), ObjectRef("Thing", space, "a")),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_merge_patch_holds_uid_and_resource_version(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a", data={"x": "1"}))
    ref, fences = CONFIG_MAP.ref(space, "a"), {key: made["metadata"][key] for key in ("uid", "resourceVersion")}
    changed = await client.merge_patch(CONFIG_MAP, ref, {"metadata": fences, "data": {"y": "2"}})
    assert changed["data"] == {"x": "1", "y": "2"}
    with pytest.raises(Conflict):
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": fences, "data": {"z": "3"}})
    with pytest.raises(Conflict):
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": fences | {"uid": OTHER_UID}, "data": {"z": "3"}})
    with pytest.raises(Invalid, match=r"metadata\.uid.*field is immutable"):  # a uid alone fences too
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": {"uid": OTHER_UID}, "data": {"z": "3"}})
    again = await client.merge_patch(CONFIG_MAP, ref, {"data": {"y": "2"}})
    assert again["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


async def test_a_delete_holds_its_uid(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a"))
    ref = CONFIG_MAP.ref(space, "a")
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, ref, uid=OTHER_UID)
    await client.delete(CONFIG_MAP, ref, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAP, ref, uid=made["metadata"]["uid"])


async def test_a_watch_tells_what_happened_since_a_version_in_order(client: KubeClient, space: str) -> None:
    scope = Scope(space)
    version = (await listed(client, CONFIG_MAP, Scope(space, field_selector="metadata.name=x")))["metadata"]
    ref = CONFIG_MAP.ref(space, "x")
    scope = Scope(space, field_selector="metadata.name=x")
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "x"))
    await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "other"))
    await client.merge_patch(CONFIG_MAP, ref, {"data": {"a": "b"}})
    await client.delete(CONFIG_MAP, ref, uid=made["metadata"]["uid"])
    found = await events(client, CONFIG_MAP, scope, version["resourceVersion"], 3)
    assert short(found) == [("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in found]
    assert versions == sorted(versions)


async def test_watches_by_name_take_no_requests_connection(client: KubeClient, space: str) -> None:
    """Each Workspace with a ConfigMap of its own is a watch: a hundred of them used to leave no connection."""
    version = (await listed(client, CONFIG_MAP, Scope(space)))["metadata"]["resourceVersion"]
    async with AsyncExitStack() as open_watches:
        with anyio.fail_after(60):  # a watch that waits for a connection waits until another ends
            for number in range(120):
                scope = Scope(space, field_selector=f"metadata.name=c{number}")
                watch = client.open_watch(CONFIG_MAP, scope, resource_version=version, timeout_s=240)
                await open_watches.enter_async_context(watch)
            assert (await client.read(NAMESPACE, NAMESPACE.ref("", space)))["metadata"]["name"] == space


async def test_what_leaves_a_selector_is_deleted_to_its_watch(client: KubeClient, space: str) -> None:
    scope = Scope(space, label_selector="color=red")
    version = (await listed(client, CONFIG_MAP, scope))["metadata"]["resourceVersion"]
    ref = CONFIG_MAP.ref(space, "a")
    await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a"))
    for color in ("red", "blue", "red"):
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": {"labels": {"color": color}}})
    found = await events(client, CONFIG_MAP, scope, version, 3)
    assert short(found) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    assert found[1]["object"]["metadata"]["labels"] == {"color": "red"}


async def test_pages_are_one_list_cut_in_pieces(client: KubeClient, space: str) -> None:
    for name in "abcde":
        await client.create(CONFIG_MAP, space, body(CONFIG_MAP, name, {"labels": {"of": "test"}}))
    seen: list[str] = []
    token, scope = "", Scope(space, label_selector="of=test")
    while True:
        page = json.loads(await client.list_page(CONFIG_MAP, scope, limit=2, continue_=token))
        seen += names(page)
        token = page["metadata"].get("continue", "")
        if not token:
            break
        await client.create(CONFIG_MAP, space, body(CONFIG_MAP, f"z{len(seen)}", {"labels": {"of": "test"}}))
    assert seen == list("abcde")


async def test_a_broken_continue_token_is_an_error_of_the_asker(client: KubeClient, space: str) -> None:
    with pytest.raises(ApiError) as caught:
        await client.list_page(CONFIG_MAP, Scope(space), continue_="rubbish")
    assert caught.value.code in (400, 410)
    assert isinstance(caught.value, Gone) is (caught.value.code == 410)


async def test_finalizers_keep_the_deleted_and_nothing_is_added_to_them(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a", {"finalizers": ["kaito.sh/x"]}))
    ref = CONFIG_MAP.ref(space, "a")
    await client.delete(CONFIG_MAP, ref, uid=made["metadata"]["uid"])
    assert (await client.read(CONFIG_MAP, ref))["metadata"]["deletionTimestamp"]
    with pytest.raises(Invalid):
        await client.merge_patch(CONFIG_MAP, ref, {"metadata": {"finalizers": ["kaito.sh/x", "kaito.sh/y"]}})
    await client.merge_patch(CONFIG_MAP, ref, {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.read(CONFIG_MAP, ref)


async def test_generation_counts_the_desired_state_and_status_is_apart(client: KubeClient, space: str) -> None:
    made = await client.create(WORKSPACE, space, workspace("ws"))
    assert made["metadata"]["generation"] == 1
    ref = WORKSPACE.ref(space, "ws")
    both: Json = {"status": {"state": "Pending"}, "resource": {"count": 3}}
    changed = await client.merge_patch(WORKSPACE, ref, both, subresource="status")
    assert (changed["status"]["state"], changed["resource"], changed["metadata"]["generation"]) == (
        "Pending",
        made["resource"],
        1,
    )
    changed = await client.merge_patch(WORKSPACE, ref, both | {"status": {"state": "Ready"}})
    assert (changed["status"]["state"], changed["resource"]["count"], changed["metadata"]["generation"]) == (
        "Pending",
        3,
        2,
    )


async def test_a_wrong_type_names_its_field(client: KubeClient, space: str) -> None:
    wrong = workspace("ws")
    wrong["resource"]["count"] = "many"
    with pytest.raises(Invalid, match=r"resource\.count"):
        await client.create(WORKSPACE, space, wrong)


async def test_apply_to_a_deleted_object_is_a_conflict_with_its_uid_only(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a"))
    uid, ref = made["metadata"]["uid"], CONFIG_MAP.ref(space, "a")
    await client.delete(CONFIG_MAP, ref, uid=uid)
    with pytest.raises(Conflict):
        await client.apply(CONFIG_MAP, ref, body(CONFIG_MAP, "a", {"uid": uid}, data={"x": "1"}))
    with pytest.raises(NotFound):
        await client.read(CONFIG_MAP, ref)


async def test_apply_with_the_uid_of_another_object_changes_nothing(client: KubeClient, space: str) -> None:
    made = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "a", data={"x": "1"}))
    ref = CONFIG_MAP.ref(space, "a")
    with pytest.raises(Invalid, match=r"metadata\.uid.*field is immutable"):
        await client.apply(CONFIG_MAP, ref, body(CONFIG_MAP, "a", {"uid": OTHER_UID}, data={"x": "2"}))
    assert await client.read(CONFIG_MAP, ref) == made


async def adopted(client: KubeClient, kind: ResourceKind, made: Json) -> None:
    """What the applier does before its first apply."""
    metadata = made["metadata"]
    fences = {key: metadata[key] for key in ("uid", "resourceVersion")}
    ref = kind.ref(metadata["namespace"], metadata["name"])
    patch = {"metadata": fences | {"managedFields": adopt(metadata["managedFields"])}}
    await client.merge_patch(kind, ref, patch)


async def test_an_adopted_child_loses_list_entries_and_whole_lists_by_apply(client: KubeClient, space: str) -> None:
    both = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    made = await client.create(STATEFUL_SET, space, stateful_set("s", both))
    await adopted(client, STATEFUL_SET, made)
    ref = STATEFUL_SET.ref(space, "s")
    for env in (both[1:], None):
        desired = stateful_set("s", env)
        desired["metadata"]["uid"] = made["metadata"]["uid"]
        changed = await client.apply(STATEFUL_SET, ref, desired)
        (container,) = changed["spec"]["template"]["spec"]["containers"]
        assert container.get("env") == env
    again = await client.apply(STATEFUL_SET, ref, desired)
    assert again["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


async def test_what_another_holds_survives_an_apply_that_leaves_it_out(client: KubeClient, space: str) -> None:
    made = await client.create(SERVICE, space, body(SERVICE, "s", spec={"ports": [{"port": 80, "protocol": "TCP"}]}))
    await adopted(client, SERVICE, made)
    ref = SERVICE.ref(space, "s")
    desired = body(SERVICE, "s", {"uid": made["metadata"]["uid"], "labels": {"mine": "1"}})
    desired["spec"] = {"ports": [{"port": 80, "protocol": "TCP"}]}
    changed = await client.apply(SERVICE, ref, desired)
    assert changed["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    del desired["metadata"]["labels"]
    assert "labels" not in (await client.apply(SERVICE, ref, desired))["metadata"]


async def test_quantities_are_normalised(client: KubeClient, space: str) -> None:
    made = stateful_set("s")
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m", "memory": "1024Mi"}}
    stored = await client.create(STATEFUL_SET, space, made)
    limits = stored["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "1Gi"}


async def test_defaults_that_the_planner_must_not_take_for_changes(client: KubeClient, space: str) -> None:
    stored = await client.create(STATEFUL_SET, space, stateful_set("s"))
    spec = stored["spec"]
    assert (spec["podManagementPolicy"], spec["revisionHistoryLimit"]) == ("OrderedReady", 10)
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["dnsPolicy"], pod["schedulerName"]) == (
        "Always",
        "ClusterFirst",
        "default-scheduler",
    )
    assert pod["containers"][0] == {
        "name": "c",
        "image": "i:1",
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


async def test_fields_that_1_20_does_not_know_are_dropped_on_post_and_refused_on_apply(
    client: KubeClient, space: str
) -> None:
    is_old = (await client.discover()).minor < 21
    made = await client.create(STATEFUL_SET, space, stateful_set("s", minReadySeconds=5))
    assert ("minReadySeconds" in made["spec"]) is not is_old
    desired = stateful_set("s", minReadySeconds=6)
    desired["metadata"]["uid"] = made["metadata"]["uid"]
    ref = STATEFUL_SET.ref(space, "s")
    if is_old:
        with pytest.raises(ApiError) as caught:
            await client.apply(STATEFUL_SET, ref, desired)
        assert caught.value.code == 500
    else:
        assert (await client.apply(STATEFUL_SET, ref, desired))["spec"]["minReadySeconds"] == 6


async def test_an_immutable_field_of_a_stateful_set_is_refused(client: KubeClient, space: str) -> None:
    await client.create(STATEFUL_SET, space, stateful_set("s"))
    with pytest.raises(Invalid, match="updates to statefulset spec for fields other than"):
        await client.merge_patch(STATEFUL_SET, STATEFUL_SET.ref(space, "s"), {"spec": {"serviceName": "other"}})


async def test_a_service_name_starts_with_a_letter_on_1_20_and_a_stateful_set_name_may_be_long(
    client: KubeClient, space: str
) -> None:
    service = body(SERVICE, "1a", spec={"ports": [{"port": 80}]})
    if (await client.discover()).minor < 21:
        with pytest.raises(Invalid, match=r"metadata\.name"):
            await client.create(SERVICE, space, service)
    else:
        assert await client.create(SERVICE, space, service)
    assert await client.create(STATEFUL_SET, space, stateful_set("s" * 60))


async def test_loopback_is_no_endpoint(client: KubeClient, space: str) -> None:
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}]
    with pytest.raises(Invalid, match="loopback"):
        await client.create(ENDPOINTS, space, body(ENDPOINTS, "e", subsets=subsets))


async def test_a_cluster_scoped_object_outlives_its_namespaced_owner(client: KubeClient, space: str) -> None:
    owner = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    node = await client.create(NODE, "", body(NODE, f"node-{space}", {"ownerReferences": [reference]}))
    child = await client.create(CONFIG_MAP, space, body(CONFIG_MAP, "child", {"ownerReferences": [reference]}))
    await client.delete(CONFIG_MAP, CONFIG_MAP.ref(space, "owner"), uid=owner["metadata"]["uid"])
    with anyio.fail_after(60):  # the namespaced one goes: the collector has been here
        while await exists(client, CONFIG_MAP, CONFIG_MAP.ref(space, "child")):  # noqa: ASYNC110 (of another process)
            await anyio.sleep(0.1)
    assert child["metadata"]["uid"] != node["metadata"]["uid"]
    ref = NODE.ref("", node["metadata"]["name"])
    assert await exists(client, NODE, ref)
    await client.delete(NODE, ref, uid=node["metadata"]["uid"])


async def exists(client: KubeClient, kind: ResourceKind, ref: ObjectRef) -> bool:
    try:
        await client.read(kind, ref)
    except NotFound:
        return False
    return True


async def test_a_pod_is_bound_once_gets_its_grace_and_ends_with_none(client: KubeClient, space: str) -> None:
    spec = {"containers": [{"name": "c", "image": "i:1"}], "terminationGracePeriodSeconds": 7}
    if "serviceaccounts" in {plural for _, _, plural in (await client.discover()).served}:
        account = ResourceKind("", "v1", "ServiceAccount", "serviceaccounts", True)
        spec["automountServiceAccountToken"] = False
        with suppress(AlreadyExists):
            await client.create(account, space, body(account, "default"))
    pod = await client.create(POD, space, body(POD, "p", spec=spec))
    assert pod["status"]["phase"] == "Pending"
    ref, uid = POD.ref(space, "p"), pod["metadata"]["uid"]
    target = {"apiVersion": "v1", "kind": "Node", "name": "no-such-node"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "namespace": space}, "target": target}
    await client.create(POD, space, binding, subresource="binding", name="p")
    assert (await client.read(POD, ref))["spec"]["nodeName"] == "no-such-node"
    with pytest.raises(Conflict):
        await client.create(POD, space, binding, subresource="binding", name="p")
    await client.delete(POD, ref, uid=uid)
    assert (await client.read(POD, ref))["metadata"]["deletionGracePeriodSeconds"] == 7
    await client.delete(POD, ref, uid=uid, grace_s=0)
    assert not await exists(client, POD, ref)
