"""Models of a hub that is really asked, over HTTP on loopback: from the Workspace to machines and flags."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml

from kaito.actors.models import Models
from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, SECRET
from kaito.api.crds import crds, node_claim_crd, node_pool_crd
from kaito.api.meta import Json, ObjectRef
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workloads import STATEFUL_SET
from kaito.api.workspace import WORKSPACE
from kaito.cli import run
from kaito.clock import wall_clock
from kaito.hub import desk
from kaito.hub.client import HubClient
from kaito.hub.desk import Desk
from kaito.kube.errors import Forbidden
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.local.robots.run import run_robots
from kaito.local.robots.settings import NO_DELAYS, RobotSettings
from kaito.operator import Operator
from kaito.plan.validate import NothingKnown
from kaito.settings import PlanSettings
from kaito.webhook.review import answer as review_answer
from kaito.webhook.review import request_of
from kaito.webhook.server import Webhook
from tests.builders import SKU, workspace
from tests.model_hub import CONFIG, ModelHub, Repository, answering, refusal

GIB = 1 << 30
TINY = Repository(CONFIG, {"model.safetensors": GIB, "config.json": 1})
LARGE = Repository(CONFIG, {"model.safetensors": 200 * GIB, "config.json": 1})
REF = WORKSPACE.ref("default", "phi")


class Life:
    """A core, robots without delays, and operators that ask the hub at this address."""

    def __init__(self, address: str) -> None:
        ids = itertools.count()
        self.server = ApiServer(now=wall_clock, new_uid=lambda: f"uid-{next(ids)}")
        self.server.start()
        self.client = LocalClient(self.server)
        self.settings = PlanSettings(hub_endpoint=address, benchmark=False)

    @asynccontextmanager
    async def robots(self) -> AsyncIterator[None]:
        for crd in (*crds().values(), node_claim_crd(), node_pool_crd()):
            await self.client.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
        async with anyio.create_task_group() as tasks:

            async def start(*, task_status: Any) -> None:
                chosen = RobotSettings(delays=NO_DELAYS)
                await run_robots(self.client, chosen, now=wall_clock, rng=Random(0), task_status=task_status)

            await tasks.start(start)
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        async with HubClient(self.settings.hub_endpoint) as hub, anyio.create_task_group() as tasks:
            made = Operator(self.client, self.settings, now=wall_clock, rng=Random(1), hub=Desk(hub, Random(2)))
            tasks.start_soon(made.run)
            yield made
            tasks.cancel_scope.cancel()

    async def status(self) -> Json:
        found: Json = (await self.client.read(WORKSPACE, REF)).get("status") or {}
        return found

    async def until(self, is_met: Callable[[Json], bool]) -> Json:
        with anyio.fail_after(30):
            while not is_met(status := await self.status()):  # noqa: ASYNC110 (as a user looks)
                await anyio.sleep(0.02)
        return status

    async def blocked_by(self, reason: str) -> Json:
        status = await self.until(lambda found: any(b["reason"] == reason for b in found.get("blockers") or ()))
        (blocker,) = status["blockers"]
        return dict(blocker)

    async def create(self, name: str, *, secret: str = "") -> None:
        options = {"presetOptions": {"modelAccessSecret": secret}} if secret else {}
        body = workspace(finalizer=False, inference={"preset": {"name": name} | options})
        body["metadata"] = {"name": "phi", "namespace": "default"}
        await self.client.create(WORKSPACE, "default", body)

    async def put_token(self, token: str) -> None:
        data = {"HF_TOKEN": base64.b64encode(token.encode()).decode()}
        await self.client.create(SECRET, "default", {"metadata": {"name": "token"}, "type": "Opaque", "data": data})

    def count(self, kind: Any) -> int:
        return len(self.server.store.objects.get((kind.group, kind.plural), {}))

    async def command(self) -> list[str]:
        found = await self.client.read(STATEFUL_SET, STATEFUL_SET.ref("default", "phi"))
        return list(found["spec"]["template"]["spec"]["containers"][0]["command"])


async def test_a_model_of_the_hub_gets_its_machines_its_flags_and_keeps_them() -> None:
    hub = ModelHub(org__tiny=TINY)
    async with hub.serving() as address:
        life = Life(address)
        async with life.robots():
            async with life.operator():
                await life.create("org/tiny")
                status = await life.until(lambda found: found.get("state") == "Ready")
            assert (status["targetNodeCount"], life.count(NODE_CLAIM)) == (1, 1)
            assert status["model"]["modelId"] == "org/tiny" and status["model"]["weightsGib"] == "1.00"
            command = await life.command()
            assert {"--model=org/tiny", "--served-model-name=tiny", "--dtype=bfloat16"} <= set(command)
            asked, version = len(hub.asked), life.server.store.version

            # The model grows, then goes; the operator starts anew: nothing of what runs changes.
            hub.repositories["org/tiny"] = LARGE
            async with life.operator() as again:
                await life.until(lambda _: not again.graph.missing() and not len(again.runner.queue))
            hub.repositories.clear()
            async with life.operator() as again:
                await life.until(lambda _: not again.graph.missing() and not len(again.runner.queue))
            assert (await life.command(), life.server.store.version) == (command, version)
            assert len(hub.asked) == asked


async def test_a_large_model_of_the_hub_gets_as_many_machines_as_it_needs() -> None:
    async with ModelHub(org__large=LARGE).serving() as address:
        life = Life(address)
        async with life.robots(), life.operator():
            await life.create("org/large")
            status = await life.until(lambda found: found.get("state") == "Ready")
            assert status["targetNodeCount"] == life.count(NODE_CLAIM) > 2
            assert f"--pipeline-parallel-size={status['targetNodeCount']}" in await life.command()


async def test_a_gated_model_waits_for_its_secret_and_for_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "REFUSED_S", 0.1)
    monkeypatch.setattr("kaito.actors.models.SECRET_AGAIN_S", 0.1)
    hub = ModelHub(org__tiny=replace(TINY, licensed=frozenset()))
    async with hub.serving() as address:
        life = Life(address)
        async with life.robots(), life.operator():
            await life.create("org/tiny", secret="token")
            blocker = await life.blocked_by("ModelAccessSecretUnreadable")
            assert "kubectl create secret generic token" in blocker["nextStep"]
            assert hub.asked == [], "without the token that was named, nobody is asked"
            await life.put_token("mine")
            blocker = await life.blocked_by("ModelGated")
            assert f"accept its licence at {address}/org/tiny" in blocker["nextStep"]
            assert blocker["culprit"] == "secret/default/token" and set(hub.tokens) == {"mine"}
            hub.repositories["org/tiny"] = replace(TINY, licensed=frozenset({"mine"}))
            await life.until(lambda found: found.get("state") == "Ready")


async def test_missing_unsupported_and_gated_models_fail_with_a_remedy() -> None:
    hub = ModelHub(
        org__bert=replace(TINY, config=CONFIG | {"architectures": ["BertModel"]}),
        org__gated=replace(TINY, licensed=frozenset()),
    )
    async with hub.serving() as address:
        for name, reason, step in (
            ("org/typo", "ModelNotFound", "check the name"),
            ("org/bert", "ModelUnsupported", "choose another model"),
            ("org/gated", "ModelGated", "inference.preset.presetOptions.modelAccessSecret"),
        ):
            life = Life(address)
            async with life.robots(), life.operator():
                await life.create(name)
                blocker = await life.blocked_by(reason)
                assert step in blocker["nextStep"] and name in blocker["message"] and life.count(NODE_CLAIM) == 0


async def test_a_hub_that_is_down_is_a_blocker_and_its_return_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.05)
    hub = ModelHub(org__tiny=TINY)
    async with hub.serving() as address:
        pass
    life = Life(address)
    async with life.robots(), life.operator():
        await life.create("org/tiny")
        blocker = await life.blocked_by("HubUnreachable")
        assert blocker["culprit"] == f"hub/{address.removeprefix('http://')}" and blocker["since"]
        async with hub.serving(int(address.rpartition(":")[2])):
            for bad in (lambda: refusal(429), lambda: refusal(503)):
                hub.special["/api/models/org/tiny"] = answering(bad)
                asked = len(hub.asked) + 1
                await life.until(lambda _, asked=asked: len(hub.asked) > asked)  # type: ignore[misc]
            assert life.count(NODE_CLAIM) == 0
            hub.special.clear()
            await life.until(lambda found: found.get("state") == "Ready")


def reviewed(body: Json, old: Json | None = None) -> Json:
    kind = {"group": "kaito.sh", "version": "v1beta1", "kind": body["kind"]}
    request = {"uid": "u", "kind": kind, "operation": "UPDATE" if old else "CREATE", "namespace": "default"}
    return request_of({"apiVersion": "admission.k8s.io/v1", "request": request | {"object": body, "oldObject": old}})


async def judged(life: Life, hub: Desk, body: Json, old: Json | None = None) -> Json:
    """The webhook's answer to a request."""
    request = reviewed(body, old)
    webhook = Webhook(life.client, NothingKnown(), life.settings, models=Models(life.client, hub, Random(1)))
    view = await webhook._looked_up(request)
    return dict(review_answer(request, view, life.settings)["response"])


async def test_the_webhook_asks_the_hub_of_what_is_new_and_only_then() -> None:
    hub = ModelHub(org__tiny=TINY, org__gated=replace(TINY, licensed=frozenset({"mine"})))
    async with hub.serving() as address, HubClient(address) as client:
        life, asked = Life(address), Desk(client, Random(1))
        good = workspace(preset="org/tiny")
        assert await judged(life, asked, good) == {"uid": "u", "allowed": True}
        typo = workspace(preset="org/typo")
        refused = await judged(life, asked, typo)
        assert not refused["allowed"] and "[model-lookup]" in refused["status"]["message"]
        gated = await judged(life, asked, workspace(preset="org/gated"))
        assert "[model-access-secret]" in gated["status"]["message"]
        options = {"preset": {"name": "org/gated", "presetOptions": {"modelAccessSecret": "token"}}}
        early = await judged(life, asked, workspace(inference=options))
        assert early["allowed"] and "there is no Secret token" in early["warnings"][0]
        await life.put_token("mine")
        assert await judged(life, asked, workspace(inference=options)) == {"uid": "u", "allowed": True}
        before = len(hub.asked)
        assert (await judged(life, Desk(client, Random(1)), typo | {"metadata": typo["metadata"]}, typo))["allowed"]
        assert len(hub.asked) == before, "what was let in is not asked about again"
    async with HubClient(address) as client:
        silent = await judged(life, Desk(client, Random(1)), good)
        assert silent["allowed"] and "does not answer" in silent["warnings"][0]


class NoSecrets:
    """A client whose ServiceAccount may read no Secret: as the manifests have it without the component hub-tokens."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def read(self, kind: Any, ref: ObjectRef) -> Json:
        if kind == SECRET:
            raise Forbidden('secrets "token" is forbidden')
        return await self._client.read(kind, ref)


async def test_where_secrets_may_not_be_read_the_operators_own_token_is_asked_with() -> None:
    hub = ModelHub(org__tiny=replace(TINY, licensed=frozenset({"ours"})))
    secret = SECRET.ref("default", "token")
    async with hub.serving() as address:
        client: Any = NoSecrets(Life(address).client)
        async with HubClient(address, "ours") as own:
            found = await Models(client, Desk(own, Random(1)), Random(1)).look_up("org/tiny", secret)
            assert found.outcome == "found"
        async with HubClient(address) as own:
            found = await Models(client, Desk(own, Random(1)), Random(1)).look_up("org/tiny", secret)
            assert found.outcome == "no-token" and "the operator may not read Secret token" in found.message


def planned(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Json]:
    status = run(["plan", *argv, "-o", "json"])
    return status, json.loads(capsys.readouterr().out)["documents"][0]


def test_kaito_plan_asks_the_hub_or_says_that_it_may_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    path = tmp_path / "ws.yaml"
    path.write_text(yaml.safe_dump(workspace(preset="org/large", finalizer=False)))
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        hub = ModelHub(org__large=LARGE)
        with portal.wrap_async_context_manager(hub.serving()) as address:
            monkeypatch.setenv("HF_ENDPOINT", address)
            monkeypatch.setenv("HF_TOKEN", "mine")
            status, found = planned(capsys, "-f", str(path))
            assert (status, found["errors"]) == (2, []) and found["nodes"] > 2 and hub.tokens[0] == "mine"
            assert any("--model=org/large" in word for word in found["command"])
            template = {"resource": {"instanceType": SKU}, "inference": {"preset": {"name": "org/large"}}}
            spec = {"replicas": 2, "template": template, "labelSelector": {"matchLabels": {"apps": "x"}}}
            head = {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "metadata": {"name": "set"}}
            (tmp_path / "set.yaml").write_text(yaml.safe_dump(head | {"spec": spec}))
            status, of_set = planned(capsys, "-f", str(tmp_path / "set.yaml"))
            assert (status, of_set["errors"], of_set["nodes"]) == (2, [], 2 * found["nodes"])
            asked = len(hub.asked)
            status, found = planned(capsys, "-f", str(path), "--offline")
            assert status == 1 and "the model hub is turned off" in found["errors"][0] and len(hub.asked) == asked
            path.write_text(yaml.safe_dump(workspace(preset="org/typo", finalizer=False)))
            status, found = planned(capsys, "-f", str(path))
            assert status == 1 and "is not on the hub" in found["errors"][0]
    status, found = planned(capsys, "-f", str(path))
    assert status == 2 and any("does not answer" in warning for warning in found["warnings"])
