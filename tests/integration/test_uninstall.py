"""`kubectl delete -k` with live Workspaces ends, on a real API server, and leaves nothing; so does `kaito uninstall`.

The operator runs as two processes under the token of its own ServiceAccount, with its webhook reached through its
Service. What a kubelet does is done here: the processes are told to stop when their Deployment is gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import anyio
import pytest
import yaml

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, LEASE, NAMESPACE, NODE, SERVICE, definition_of
from kaito.api.crds import node_claim_crd, node_pool_crd
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.nodepool import NODE_POOL
from kaito.api.ragengine import RAGENGINE
from kaito.api.rbac import CLUSTER_ROLE, SERVICE_ACCOUNT
from kaito.api.workloads import DEPLOYMENT, STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.cli.rbac import NAMESPACE as SPACE
from kaito.cli.uninstall import LEADS, NOTHING
from kaito.clock import wall_clock
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.errors import AlreadyExists, ApiError, Invalid, NotFound
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import Fault, RobotSettings, StageDelays
from kaito.plan.uninstall import rights
from kaito.webhook.keeper import CONFIGURATION, CONFIGURATION_NAME
from tests.integration.controlplane import assets, control_plane, free_port

KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")
pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl: neither KUBECTL nor PATH names one"),
]
ROOT = Path(__file__).parents[2]
OVERLAY, INSTALL = ROOT / "manifests" / "overlays" / "kubernetes-1.20", ROOT / "docs" / "install.md"
WITHIN_S, ENDS_WITHIN_S = 90.0, 60.0
CONFIGURED = CONFIGURATION.ref("", CONFIGURATION_NAME)
ROOTS = (WORKSPACE, INFERENCE_SET, RAGENGINE)
SLOW_SKU, SKU = "Standard_NC48ads_A100_v4", "Standard_NC24ads_A100_v4"
RELEASE_S = 5.0
UNINSTALLED = "uninstalled; its machines are on their way out"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


async def until(is_met: Callable[[], Awaitable[bool]], what: str, within_s: float = WITHIN_S) -> None:
    """Another process has no event for us: ask again."""
    with anyio.move_on_after(within_s):
        while not await is_met():  # noqa: ASYNC110
            await anyio.sleep(0.2)
        return
    raise AssertionError(f"{what}: not within {within_s:.0f} s")


class Cluster:
    """The real cluster as its administrator sees it, and the operator's processes in it."""

    def __init__(self, admin: KubernetesAsyncioClient, kubeconfig: Path, folder: Path) -> None:
        self.admin, self.kubeconfig, self.folder = admin, kubeconfig, folder
        self.replicas: list[subprocess.Popen[bytes]] = []
        self.logs: list[Path] = []

    async def kubectl(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return await anyio.run_process([str(KUBECTL), f"--kubeconfig={self.kubeconfig}", *words], check=False)

    async def body(self, kind: ResourceKind, ref: ObjectRef) -> Json | None:
        try:
            return await self.admin.read(kind, ref)
        except NotFound:
            return None

    async def is_empty(self, kind: ResourceKind) -> bool:
        try:
            return b'"items":[]' in await self.admin.list_page(kind)
        except NotFound:
            return True

    async def install(self) -> None:
        """`kubectl apply -k`, with a Service that leads to a process of this machine; two replicas of the operator."""
        done = await self.kubectl("apply", "-k", str(OVERLAY))
        assert done.returncode == 0, done.stderr.decode()
        port = free_port()
        outside = {
            "type": "ExternalName",
            "externalName": "localhost",
            "clusterIP": None,
            "selector": None,
            "ports": None,
        }
        await self.admin.merge_patch(SERVICE, SERVICE.ref(SPACE, "kaito-webhook"), {"spec": outside})
        hooks = await self.admin.read(CONFIGURATION, CONFIGURED)
        for hook in hooks["webhooks"]:
            hook["clientConfig"]["service"]["port"] = port
        await self.admin.merge_patch(CONFIGURATION, CONFIGURED, {"webhooks": hooks["webhooks"]})
        config = await self.as_operator()
        for number, webhook in enumerate((port, free_port())):
            log = self.folder / f"operator-{len(self.logs)}.log"
            command = [sys.executable, "-m", "kaito", "operator", f"--kubeconfig={config}", "--log-format=json"]
            command += ["--metrics-bind-address=127.0.0.1:0", f"--webhook-bind-address=127.0.0.1:{webhook}"]
            command += [f"--journal-dir={self.folder}"]
            self.replicas.append(subprocess.Popen(command, stderr=log.open("wb")))  # noqa: ASYNC220
            self.logs.append(log)
            if number == 0:
                await until(self.leads, "the first replica leads")

    async def leads(self) -> bool:
        lease = await self.body(LEASE, LEASE.ref(SPACE, "kaito-operator"))
        return bool(lease and lease["spec"].get("holderIdentity"))

    async def holder(self) -> str:
        lease = await self.admin.read(LEASE, LEASE.ref(SPACE, "kaito-operator"))
        return str(lease["spec"]["holderIdentity"])

    async def as_operator(self) -> Path:
        """A kubeconfig with the token of the operator's ServiceAccount, bound as a pod's is."""
        request: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        token = await self.admin.create(SERVICE_ACCOUNT, SPACE, request, subresource="token", name="kaito-operator")
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": "admin", "user": {"token": token["status"]["token"]}}]
        path = self.folder / "operator.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    async def refuses(self) -> bool:
        """Whether the webhook is asked, and answers."""
        try:
            await self.admin.create(WORKSPACE, "default", workspace("refused", SKU, preset="no-such-model"))
        except Invalid as error:
            return "[preset-known]" in str(error)
        except ApiError:  # the server has not read the configuration yet
            return False
        raise AssertionError("a Workspace of an unknown model was accepted")

    async def populate(self) -> None:
        """One Workspace that is Ready, one whose machine does not come, an InferenceSet and a RAGEngine."""
        await until(self.refuses, "the webhook answers")
        await self.admin.create(WORKSPACE, "default", workspace("ready", SKU))
        await self.admin.create(WORKSPACE, "default", workspace("waiting", SLOW_SKU))
        template = {"resource": {"instanceType": SLOW_SKU}, "inference": {"preset": {"name": "phi-3.5-mini-instruct"}}}
        spec: Json = {"replicas": 1, "template": template, "labelSelector": {"matchLabels": {"apps": "set"}}}
        await self.admin.create(INFERENCE_SET, "default", {"metadata": {"name": "set"}, "spec": spec})
        await self.admin.create(RAGENGINE, "default", ragengine())

        async def is_settled() -> bool:
            found = await self.body(WORKSPACE, WORKSPACE.ref("default", "ready"))
            claims = (await self.admin.list_page(NODE_CLAIM)).count(b'"name":"ws')
            return bool(found and found.get("status", {}).get("state") == "Ready") and claims >= 4

        await until(is_settled, "one Workspace is Ready, and four machines were asked for")

    def said(self, what: str) -> bool:
        return any(what in log.read_text() for log in self.logs)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        for replica in self.replicas:
            replica.send_signal(how)

    async def deployment_is_gone(self) -> bool:
        return await self.body(DEPLOYMENT, DEPLOYMENT.ref(SPACE, "kaito-operator")) is None

    async def ended(self) -> list[int]:
        """How the replicas ended."""

        async def are_over() -> bool:
            return all(replica.poll() is not None for replica in self.replicas)

        await until(are_over, "the operator's processes have ended", ENDS_WITHIN_S)
        return [replica.returncode for replica in self.replicas]

    async def is_clean(self) -> None:
        """Nothing that was installed is left, and nothing that it had made."""
        installed = [(CUSTOM_RESOURCE_DEFINITION, definition_of(kind)) for kind in ROOTS]
        installed += [*rights(SPACE), (NAMESPACE, NAMESPACE.ref("", SPACE)), (CONFIGURATION, CONFIGURED)]
        for kind, ref in installed:
            await until(lambda kind=kind, ref=ref: self._is_gone(kind, ref), f"{ref} is gone")
        for kind in (NODE_CLAIM, NODE_POOL, NODE, STATEFUL_SET, DEPLOYMENT):
            await until(lambda kind=kind: self.is_empty(kind), f"no {kind.kind} is left")

    async def _is_gone(self, kind: ResourceKind, ref: ObjectRef) -> bool:
        return await self.body(kind, ref) is None


def workspace(name: str, sku: str, preset: str = "phi-3.5-mini-instruct") -> Json:
    resource = {"instanceType": sku, "labelSelector": {"matchLabels": {"apps": name}}}
    return {"metadata": {"name": name}, "resource": resource, "inference": {"preset": {"name": preset}}}


def ragengine() -> Json:
    compute = {"instanceType": SLOW_SKU, "labelSelector": {"matchLabels": {"apps": "rag"}}}
    embedding = {"local": {"modelID": "BAAI/bge-small-en-v1.5"}}
    served = {"url": "http://ready/v1", "contextWindowSize": 4096}
    spec = {"compute": compute, "embedding": embedding, "inferenceService": served}
    return {"metadata": {"name": "rag"}, "spec": spec}


@asynccontextmanager
async def cluster_at(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    admin = await KubernetesAsyncioClient.connect(kubeconfig)
    found = Cluster(admin, kubeconfig, tmp_path)
    async with robots(admin):
        try:
            yield found
        finally:
            found.stop(signal.SIGKILL)
            for replica in found.replicas:
                replica.wait()
    await admin.aclose()


@asynccontextmanager
async def robots(admin: KubernetesAsyncioClient) -> AsyncIterator[None]:
    """The provider of NodeClaims, and the kubelets of its machines."""
    for crd in (node_claim_crd(), node_pool_crd()):
        with suppress(AlreadyExists):
            await admin.create(CUSTOM_RESOURCE_DEFINITION, "", crd)

    async def is_served() -> bool:
        found = await admin.discover()
        return found.has(NODE_CLAIM) and found.has(NODE_POOL)

    await until(is_served, "NodeClaims are served")
    settings = RobotSettings(
        publish_addresses=False,
        cluster_minor=20,
        delays=StageDelays(release_s=RELEASE_S, jitter=0),
        faults=(Fault("node-never-registers", pattern=SLOW_SKU),),
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(
            lambda task_status: run_robots(
                admin,
                settings,
                now=wall_clock,
                rng=Random(1),
                only=("provisioner", "kubelet", "leases"),
                task_status=task_status,
            )
        )
        yield
        tasks.cancel_scope.cancel()


async def test_kubectl_delete_k_with_live_workspaces_ends_and_leaves_nothing(kubeconfig: Path, tmp_path: Path) -> None:
    async with cluster_at(kubeconfig, tmp_path) as cluster:
        await cluster.install()
        await cluster.populate()

        async def as_kubelet() -> None:
            await until(cluster.deployment_is_gone, "the Deployment is gone")
            cluster.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(as_kubelet)
            done = await cluster.kubectl("delete", "-k", str(OVERLAY), f"--timeout={ENDS_WITHIN_S:.0f}s")
        assert done.returncode == 0, done.stderr.decode()
        assert await cluster.ended() == [0, 0]
        assert cluster.said("uninstall finished") and not cluster.said("uninstall not finished")
        assert cluster.said(UNINSTALLED) and not cluster.said("its machines are released"), "it waited for machines"
        await cluster.is_clean()


async def test_an_uninstall_without_an_operator_waits_until_kaito_uninstall_finishes_it(
    kubeconfig: Path, tmp_path: Path
) -> None:
    async with cluster_at(kubeconfig, tmp_path) as cluster:
        await cluster.install()
        await cluster.populate()
        cluster.stop(signal.SIGKILL)
        await cluster.ended()

        async def uninstall(*more: str) -> tuple[int, str]:
            command = [sys.executable, "-m", "kaito", "uninstall", f"--kubeconfig={kubeconfig}", *more]
            done = await anyio.run_process(command, check=False)
            return done.returncode, done.stdout.decode() + done.stderr.decode()

        assert await uninstall() == (2, f"{LEADS.format(await cluster.holder())}\n{NOTHING}\n")
        assert (await cluster.kubectl("delete", "-k", str(OVERLAY), "--wait=false")).returncode == 0
        ready = await cluster.body(WORKSPACE, WORKSPACE.ref("default", "ready"))
        assert ready is not None and ready["metadata"]["finalizers"]
        status, said = await uninstall()
        assert status == 0, said
        for root in (
            "workspace/default/ready",
            "workspace/default/waiting",
            "inferenceset/default/set",
            "ragengine/default/rag",
        ):
            assert f"{root} is released" in said
        assert said.count("is on its way out, held by karpenter.sh/termination") == 4
        await cluster.is_clean()


async def test_the_lines_of_the_documentation_finish_an_uninstall_without_an_operator(
    kubeconfig: Path, tmp_path: Path
) -> None:
    lines = INSTALL.read_text().partition("by kubectl")[2].split("```")[1]
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {KUBECTL} --kubeconfig={kubeconfig} "$@"\n')
    program.chmod(0o755)
    async with cluster_at(kubeconfig, tmp_path) as cluster:
        await cluster.install()
        await cluster.populate()
        cluster.stop(signal.SIGKILL)
        await cluster.ended()
        assert (await cluster.kubectl("delete", "-k", str(OVERLAY), "--wait=false")).returncode == 0
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        done = await anyio.run_process(["bash", "-ec", lines], check=False, env=os.environ | {"PATH": path})
        assert done.returncode == 0, done.stderr.decode()
        await cluster.is_clean()


async def test_a_deleted_namespace_ends_and_blocks_no_workspace_which_a_new_operator_takes_up(
    kubeconfig: Path, tmp_path: Path
) -> None:
    async with cluster_at(kubeconfig, tmp_path) as cluster:
        await cluster.install()
        await cluster.populate()

        async def as_kubelet() -> None:
            await until(cluster.deployment_is_gone, "the Deployment is gone")
            cluster.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(as_kubelet)
            done = await cluster.kubectl("delete", "namespace", SPACE, f"--timeout={ENDS_WITHIN_S:.0f}s")
        assert done.returncode == 0, done.stderr.decode()
        assert await cluster.ended() == [0, 0]
        ref = WORKSPACE.ref("default", "ready")
        changed = await cluster.admin.merge_patch(WORKSPACE, ref, {"metadata": {"labels": {"team": "a"}}})
        assert changed["metadata"]["finalizers"], "a Workspace that nobody deleted is kept"
        assert await cluster.body(CLUSTER_ROLE, CLUSTER_ROLE.ref("", "kaito-operator")) is not None

        cluster.replicas.clear()
        await cluster.install()
        await until(cluster.refuses, "the webhook is strict again")
        await cluster.admin.delete(WORKSPACE, ref, uid=changed["metadata"]["uid"])

        async def is_gone() -> bool:
            return await cluster.body(WORKSPACE, ref) is None

        await until(is_gone, "an ordinary deletion ends when the machine is gone")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(as_kubelet)
            done = await cluster.kubectl("delete", "-k", str(OVERLAY), f"--timeout={ENDS_WITHIN_S:.0f}s")
        assert done.returncode == 0, done.stderr.decode()
        await cluster.is_clean()
