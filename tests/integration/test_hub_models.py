"""A gated model of a hub on a real API server: its token is read only where RBAC lets us, its facts survive the CRD."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from random import Random

import anyio
import pytest

from kaito.actors.models import Models
from kaito.api.core import SECRET
from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.cli import rbac
from kaito.cli.webhook_manifest import configuration
from kaito.clock import wall_clock
from kaito.hub import desk
from kaito.hub.client import HubClient
from kaito.hub.desk import Desk
from kaito.kube.adapter import KubernetesAsyncioClient
from kaito.kube.errors import ApiError, Invalid
from kaito.operator import Operator
from kaito.plan.catalog import model_of_status
from kaito.settings import PlanSettings
from kaito.state.graph_view import GraphView
from kaito.webhook.keeper import CONFIGURATION, Keeper
from kaito.webhook.server import Webhook, serve_webhook
from tests.builders import SKU, workspace
from tests.integration.controlplane import assets, control_plane
from tests.integration.test_deployment import KINDS_OF_RBAC, SPACE, as_operator, install, until
from tests.model_hub import CONFIG, ModelHub, Repository

pytestmark = [
    pytest.mark.real_apiserver,
    pytest.mark.timeout(300),
    pytest.mark.skipif(assets() is None, reason="KUBEBUILDER_ASSETS names no control plane"),
]
REF = WORKSPACE.ref("default", "phi")
MODEL = Repository(CONFIG, {"model.safetensors": 200 << 30, "config.json": 1}, licensed=frozenset({"mine"}))


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with control_plane(tmp_path_factory.mktemp("controlplane")) as found:
        yield found


def asked(name: str) -> Json:
    options = {"preset": {"name": name, "presetOptions": {"modelAccessSecret": "token"}}}
    return workspace(finalizer=False, inference=options) | {"metadata": {"name": "phi", "namespace": "default"}}


def set_of(name: str) -> Json:
    template = {"resource": {"instanceType": SKU}, "inference": {"preset": {"name": name}}}
    spec = {"template": template, "labelSelector": {"matchLabels": {"apps": "x"}}}
    return {"metadata": {"name": "set", "namespace": "default"}, "spec": spec}


async def test_a_gated_model_under_the_operators_own_account(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "REFUSED_S", 0.5)
    monkeypatch.setattr("kaito.actors.models.SECRET_AGAIN_S", 0.5)
    admin = await KubernetesAsyncioClient.connect(kubeconfig)
    await install(admin)
    data = {"HF_TOKEN": base64.b64encode(b"mine").decode()}
    await admin.create(SECRET, "default", {"metadata": {"name": "token"}, "type": "Opaque", "data": data})
    hub = ModelHub(org__large=MODEL)
    async with (
        hub.serving() as address,
        HubClient(address) as asks,
        as_operator(admin, kubeconfig, tmp_path) as client,
        anyio.create_task_group() as tasks,
    ):
        settings, at = PlanSettings(benchmark=False, hub_endpoint=address), Desk(asks, Random(1))
        operator = Operator(client, settings, now=wall_clock, rng=Random(1), hub=at)
        keeper = Keeper(client, namespace=SPACE, names=("localhost",), now=wall_clock)
        await keeper.settle()
        webhook = Webhook(client, GraphView(operator.graph), settings, models=Models(client, at, Random(1)))
        async with serve_webhook("127.0.0.1:0", webhook, keeper.context) as port:
            hooks = configuration()
            for hook in hooks["webhooks"]:
                hook["clientConfig"] = {"url": f"https://localhost:{port}/validate"}
            await admin.create(CONFIGURATION, "", hooks)
            await keeper.settle()

            async def are_refused() -> bool:
                words = []
                for kind, body in ((WORKSPACE, asked("org/typo") | {"inference": {"preset": {"name": "org/typo"}}}),
                                   (INFERENCE_SET, set_of("org/large"))):  # fmt: skip
                    try:
                        made = await admin.create(kind, "default", body)
                        await admin.delete(
                            kind, kind.ref("default", body["metadata"]["name"]), uid=made["metadata"]["uid"]
                        )
                        return False
                    except Invalid as error:
                        words.append(str(error))
                    except ApiError:  # the server calls without the authority yet
                        return False
                return "[model-lookup]" in words[0] and "[model-access-secret]" in words[1]

            await until(are_refused)
            await tasks.start(operator.run)
            await admin.create(WORKSPACE, "default", asked("org/large"))

            async def blocked_by() -> str:
                status = (await admin.read(WORKSPACE, REF)).get("status") or {}
                return str(next(iter(status.get("blockers") or ()), {}).get("reason", ""))

            async def waits_for_the_token() -> bool:
                return await blocked_by() == "ModelAccessSecretUnreadable"

            await until(waits_for_the_token)
            for body in rbac.hub_token_objects():  # the component hub-tokens
                await admin.create(KINDS_OF_RBAC[body["kind"]], "", body)

            async def has_machines() -> bool:
                status = (await admin.read(WORKSPACE, REF)).get("status") or {}
                page = (await admin.list_page(NODE_CLAIM)).count(b'"kaito.sh/workspace-uid"')
                return bool(status.get("targetNodeCount", 0) > 2 and page >= status["targetNodeCount"])

            await until(has_machines)
            status = (await admin.read(WORKSPACE, REF))["status"]
            model = model_of_status("org/large", status)
            assert model is not None and (model.weights_gib, model.layers) == (200.0, 32)
            assert hub.tokens[-1] == "mine"
        tasks.cancel_scope.cancel()
    await admin.aclose()
