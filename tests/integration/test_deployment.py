"""The manifests on a real API server: the operator lives under its own ServiceAccount, and its webhook is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, SERVICE
from kaito.api.crds import crds, node_claim_crd, node_pool_crd
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.rbac import RBAC_GROUP, SERVICE_ACCOUNT
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.cli import rbac
from kaito.cli.webhook_manifest import configuration
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.client import KubeClient
from kaito.kube.errors import Forbidden, Invalid, NotFound
from kaito.kube.leadership import Leadership
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import RobotSettings
from kaito.operator import Operator
from kaito.settings import PlanSettings
from kaito.state.graph_view import GraphView
from kaito.webhook.keeper import CONFIGURATION, Keeper
from kaito.webhook.server import Webhook, serve_webhook
from tests.builders import workspace
from tests.integration.controlplane import assets, control_plane

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
KINDS_OF_RBAC = {
    kind: ResourceKind(RBAC_GROUP, "v1", kind, f"{kind.lower()}s", not kind.startswith("Cluster"))
    for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
} | {"ServiceAccount": SERVICE_ACCOUNT}
SPACE, WITHIN_S = rbac.NAMESPACE, 45.0
REF = WORKSPACE.ref("default", "phi")


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


async def until(is_met: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(WITHIN_S):
        while not await is_met():  # noqa: ASYNC110 (another process has no event for us)
            await anyio.sleep(0.1)


async def exists(client: KubeClient, kind: ResourceKind, ref: Any) -> bool:
    try:
        await client.read(kind, ref)
    except NotFound:
        return False
    return True


async def install(admin: KubeClient) -> None:
    """What `kubectl apply -k manifests/` makes, less what needs nodes."""
    await admin.create(NAMESPACE, "", {"metadata": {"name": SPACE}})
    for crd in (*crds().values(), node_claim_crd(), node_pool_crd()):
        await admin.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
    for body in rbac.objects():
        await admin.create(KINDS_OF_RBAC[body["kind"]], body["metadata"].get("namespace", ""), body)

    async def is_served() -> bool:
        found = await admin.discover()
        return found.has(WORKSPACE) and found.has(NODE_CLAIM)

    await until(is_served)


@asynccontextmanager
async def as_operator(admin: KubeClient, kubeconfig: Path, folder: Path) -> AsyncIterator[KubernetesAsyncioClient]:
    """A client with the token of the operator's ServiceAccount."""
    request: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = await admin.create(SERVICE_ACCOUNT, SPACE, request, subresource="token", name=rbac.NAME)
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240 (a small file)
    config["users"] = [{"name": "admin", "user": {"token": token["status"]["token"]}}]
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    client = await KubernetesAsyncioClient.connect(path)
    try:
        yield client
    finally:
        await client.aclose()


def asked(**more: Any) -> Json:
    body = workspace(finalizer=False, **more)
    return body | {"metadata": {"name": body["metadata"]["name"], "namespace": "default"}}


async def test_a_life_under_the_operators_own_account_with_its_webhook(kubeconfig: Path, tmp_path: Path) -> None:
    admin = await KubernetesAsyncioClient.connect(kubeconfig)
    await install(admin)

    def operator_wakes() -> None:
        operator.runner.wake()

    settings, troubles = PlanSettings(benchmark=False), list[str]()
    async with as_operator(admin, kubeconfig, tmp_path) as client, anyio.create_task_group() as tasks:
        leadership = Leadership(client, namespace=SPACE, identity="me", now=wall_clock, rng=Random(1),
                                changed=operator_wakes)  # fmt: skip
        operator = Operator(client, settings, now=wall_clock, rng=Random(1), may_write=leadership.may_write,
                            on_trouble=lambda row, error: troubles.append(f"{row.kind.plural}: {error}"),
                            on_write=lambda verb, outcome: troubles.append(f"{verb}: {outcome}")
                            if "orbidden" in outcome else None)  # fmt: skip
        keeper = Keeper(client, namespace=SPACE, names=("localhost",), now=wall_clock)
        await keeper.settle()
        webhook = Webhook(client, GraphView(operator.graph), settings)
        async with serve_webhook("127.0.0.1:0", webhook, keeper.context) as port:
            hooks = configuration()
            for hook in hooks["webhooks"]:
                hook["clientConfig"] = {"url": f"https://localhost:{port}/validate"}
            await admin.create(CONFIGURATION, "", hooks)
            await keeper.settle()

            async def is_refused() -> bool:
                try:
                    made = await admin.create(WORKSPACE, "default", asked(preset="phi-35"))
                except Invalid as error:
                    return "[preset-known]" in str(error) and "did you mean" in str(error)
                except Exception:  # the server has not read the configuration yet, or calls without the authority
                    return False
                await admin.delete(WORKSPACE, REF, uid=made["metadata"]["uid"])
                return False

            await until(is_refused)
            await tasks.start(leadership.run)
            await tasks.start(operator.run)
            await tasks.start(
                lambda task_status: run_robots(
                    admin,
                    RobotSettings(publish_addresses=False, cluster_minor=20),
                    now=wall_clock,
                    rng=Random(1),
                    only=("provisioner", "kubelet", "leases"),
                    task_status=task_status,
                )
            )
            made = await admin.create(WORKSPACE, "default", asked())

            async def has_workload() -> bool:
                return await exists(admin, STATEFUL_SET, STATEFUL_SET.ref("default", "phi"))

            await until(has_workload)
            assert await exists(admin, SERVICE, SERVICE.ref("default", "phi"))
            with pytest.raises(Invalid, match="preset-immutable"):
                await admin.merge_patch(WORKSPACE, REF, {"inference": {"preset": {"name": "phi-4"}}})
            await admin.merge_patch(WORKSPACE, REF, {"metadata": {"labels": {"team": "a"}}})
            old = WORKSPACE._replace(version="v1alpha1")
            assert (await admin.read(old, REF))["apiVersion"] == "kaito.sh/v1alpha1"
            elder = await admin.create(old, "default", asked(name="old") | {"apiVersion": "kaito.sh/v1alpha1"})
            await admin.delete(WORKSPACE, WORKSPACE.ref("default", "old"), uid=elder["metadata"]["uid"])

            await admin.delete(WORKSPACE, REF, uid=made["metadata"]["uid"])

            async def is_gone() -> bool:
                left = [exists(admin, WORKSPACE, WORKSPACE.ref("default", name)) for name in ("phi", "old")]
                return not any([await each for each in left])

            await until(is_gone)
        tasks.cancel_scope.cancel()
    assert [trouble for trouble in troubles if "orbidden" in trouble] == []
    await admin.aclose()


async def test_the_operators_account_may_not_read_tenants_secrets_nor_make_pods(
    kubeconfig: Path, tmp_path: Path
) -> None:
    from kaito.api.core import POD, SECRET

    admin = await KubernetesAsyncioClient.connect(kubeconfig)
    async with as_operator(admin, kubeconfig, tmp_path) as client:
        with pytest.raises(Forbidden):
            await client.read(SECRET, SECRET.ref("default", "any"))
        with pytest.raises(Forbidden):
            await client.list_page(SECRET)
        with pytest.raises(Forbidden):
            await client.create(POD, "default", {"metadata": {"name": "a"}})
    await admin.aclose()
