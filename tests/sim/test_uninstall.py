"""`kubectl delete -k` on virtual time: what each replica may do ends with the objects that give it the right."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kaito.actors.uninstall import Uninstall
from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, LEASE, NODE
from kaito.api.core import NAMESPACE as NAMESPACE_KIND
from kaito.api.crds import crds
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.ragengine import RAGENGINE
from kaito.api.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.cli import rbac
from kaito.kube.errors import Forbidden, NotFound, Unauthorized
from kaito.local.client import LocalClient
from kaito.plan.uninstall import RIGHTS, rights
from tests.sim.life import NAMESPACE, Life, Replica, live

WITHIN_S = 900.0
KINDS = {kind.kind: kind for kind in RIGHTS}


class Authorized:
    """The API server to the operator's account: without the account one is nobody, without a role one may nothing."""

    def __init__(self, server: LocalClient) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def _check(self, kind: ResourceKind) -> None:
        needed = (SERVICE_ACCOUNT, *((ROLE, ROLE_BINDING) if kind == LEASE else (CLUSTER_ROLE, CLUSTER_ROLE_BINDING)))
        for each in needed:
            ref = next(ref for found, ref in rights(NAMESPACE) if found == each)
            if self._server.server.store.get((each.group, each.plural), (ref.namespace, ref.name)) is None:
                raise (Unauthorized if each == SERVICE_ACCOUNT else Forbidden)(f"no {each.kind} lets us do that")

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        self._check(kind)
        return await self._server.read(kind, ref)

    async def create(self, kind: ResourceKind, namespace: str, body: Json, **more: Any) -> Json:
        self._check(kind)
        return await self._server.create(kind, namespace, body, **more)

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, **more: Any) -> Json:
        self._check(kind)
        return await self._server.merge_patch(kind, ref, patch, **more)

    async def delete(self, kind: ResourceKind, ref: ObjectRef, **more: Any) -> None:
        self._check(kind)
        await self._server.delete(kind, ref, **more)


def definition(kind: ResourceKind) -> Json:
    """The local core has no roles of its own; here they are plain objects, and `Authorized` reads them."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": kind.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    scope = "Namespaced" if kind.namespaced else "Cluster"
    names = {"kind": kind.kind, "plural": kind.plural}
    spec = {"group": kind.group, "names": names, "scope": scope, "versions": [version]}
    return {"metadata": {"name": f"{kind.plural}.{kind.group}"}, "spec": spec}


async def install(life: Life) -> None:
    """What `kubectl apply -k` makes, less what the operator's own process is."""
    others = [body for body in crds().values() if body["spec"]["names"]["kind"] != WORKSPACE.kind]
    for crd in (*others, *(definition(kind) for kind in RIGHTS if kind.group)):
        await life.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
    for body in rbac.objects():
        await life.client.create(KINDS[body["kind"]], body["metadata"].get("namespace", ""), body)
    for replica in life.replicas:
        replica.client._server = Authorized(life.client)  # type: ignore[assignment]


async def remove(life: Life, kind: ResourceKind, namespace: str, name: str) -> None:
    with suppress(NotFound):
        found = await life.client.read(kind, kind.ref(namespace, name))
        await life.client.delete(kind, kind.ref(namespace, name), uid=found["metadata"]["uid"])


async def kubectl_delete(life: Life) -> None:
    """In kustomize's order, all at once."""
    await remove(life, NAMESPACE_KIND, "", NAMESPACE)
    for kind in (INFERENCE_SET, RAGENGINE, WORKSPACE):
        await remove(life, CUSTOM_RESOURCE_DEFINITION, "", f"{kind.plural}.{kind.group}")
    for kind in (SERVICE_ACCOUNT, ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING):
        await remove(life, kind, NAMESPACE, rbac.NAME)


def uninstall_of(life: Life, replica: Replica) -> Uninstall:
    assert replica.operator is not None and replica.leadership is not None

    return Uninstall(
        replica.client,  # type: ignore[arg-type]
        replica.operator.view,
        namespace=NAMESPACE,
        may_write=replica.leadership.may_write,
        prepare=anyio.lowlevel.checkpoint,
    )


async def hung(life: Life) -> None:
    await life.until(lambda: life._leader() is not None, WITHIN_S)
    (leader,) = [replica for replica in life.replicas if replica.leadership and replica.leadership.is_leader]
    with anyio.move_on_after(5):
        await uninstall_of(life, leader).hang()
    lease = life.one(LEASE, rbac.NAME, NAMESPACE)
    assert lease is not None and len(lease["metadata"]["ownerReferences"]) == len(RIGHTS)
    assert lease["metadata"]["deletionTimestamp"]


def left(life: Life) -> list[str]:
    installed = [kind.kind for kind, ref in rights(NAMESPACE) if life.one(kind, ref.name, ref.namespace) is not None]
    installed += ["Namespace"] if life.one(NAMESPACE_KIND, NAMESPACE) else []
    crds = [body["metadata"]["name"] for body in life.all(CUSTOM_RESOURCE_DEFINITION)]
    return [*installed, *(name for name in crds if name.endswith("kaito.sh"))]


async def told_to_stop(life: Life) -> list[tuple[ObjectRef, ...] | None]:
    """Both replicas at once, as a Deployment that goes tells them."""
    ends: list[tuple[ObjectRef, ...] | None] = []

    async def stop(replica: Replica) -> None:
        ends.append(await uninstall_of(life, replica).run())

    async with anyio.create_task_group() as tasks:
        for replica in life.replicas:
            tasks.start_soon(stop, replica)
    return ends


@pytest.mark.parametrize("emulate", [(1, 20), (1, 36)])
@pytest.mark.parametrize("seed", range(2))
def test_an_uninstall_with_live_workspaces_ends_and_leaves_nothing(seed: int, emulate: tuple[int, int]) -> None:
    async def scenario(life: Life) -> None:
        await install(life)
        await hung(life)
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        await life.apply("late", "llama-3.3-70b-instruct")
        await life.until(lambda: len(life.all(NODE_CLAIM)) > 1, WITHIN_S)
        await anyio.sleep(life.rng.uniform(0, 10))
        await kubectl_delete(life)
        assert await told_to_stop(life) == [(), ()]
        assert left(life) == []
        assert all(claim["metadata"]["deletionTimestamp"] for claim in life.all(NODE_CLAIM))
        await life.until(lambda: life.all(NODE_CLAIM) == life.all(NODE) == life.all(STATEFUL_SET) == [], WITHIN_S)

    live(scenario, seed=seed, replicas=2, emulate=emulate)


@pytest.mark.parametrize("seed", [0, 2, 8])  # 2: the first look failed; 8: a conflict was taken for a deletion
def test_an_uninstall_ends_though_requests_fail_and_answers_are_lost(seed: int) -> None:
    async def scenario(life: Life) -> None:
        await install(life)
        await hung(life)
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        for replica in life.replicas:
            replica.client.only = {"F8", "F9"}  # conflicts, and answers that are lost
        life.be_faulty(True)
        await kubectl_delete(life)
        await told_to_stop(life)
        assert life.strikes().total() > 2
        assert left(life) == []
        life.be_faulty(False)
        await life.until(lambda: life.all(NODE_CLAIM) == life.all(NODE) == [], WITHIN_S)

    live(scenario, seed=seed, replicas=2)


def test_a_deleted_namespace_takes_nothing_along_but_what_is_in_it() -> None:
    async def scenario(life: Life) -> None:
        await install(life)
        await hung(life)
        await life.apply()
        await life.until(lambda: life.state() == "Ready", WITHIN_S)
        await remove(life, NAMESPACE_KIND, "", NAMESPACE)
        assert await told_to_stop(life) == [(), ()]
        kinds = {f"{kind.plural}.kaito.sh" for kind in (WORKSPACE, INFERENCE_SET, RAGENGINE)}
        assert set(left(life)) == {"ClusterRole", "ClusterRoleBinding"} | kinds
        found = life.one(WORKSPACE, "phi")
        assert found is not None and found["metadata"]["finalizers"] and life.state() == "Ready"

    live(scenario, replicas=2)


def test_an_ordinary_stop_is_no_uninstall() -> None:
    async def scenario(life: Life) -> None:
        await install(life)
        await hung(life)
        before = anyio.current_time()
        assert await told_to_stop(life) == [None, None]
        assert anyio.current_time() - before < 1
        assert "Lease" in left(life)

    live(scenario, replicas=2)
