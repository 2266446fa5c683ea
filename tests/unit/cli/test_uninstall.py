"""`kaito uninstall`: releases what was asked to go and nothing else, and says what it leaves to others."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, definition_of
from kaito.api.crds import node_claim_crd, workspace_crd
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.cli import run
from kaito.cli.uninstall import NOTHING, finish_uninstall
from kaito.kube.errors import Forbidden
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from tests.builders import moment, node_claim, workspace

REF, CLAIM = WORKSPACE.ref("default", "phi"), NODE_CLAIM.ref("", "ws1")


class Server(LocalClient):
    """`is_blind`: NodeClaims cannot be listed."""

    is_blind = False

    async def list_page(self, kind: ResourceKind, *args: Any, **more: Any) -> bytes:
        if self.is_blind and kind == NODE_CLAIM:
            raise Forbidden("no")
        return await super().list_page(kind, *args, **more)


def fresh(body: Json, **more: Any) -> Json:
    kept = {key: value for key, value in body["metadata"].items() if key not in ("uid", "resourceVersion")}
    return body | {"metadata": kept | more}


async def installed() -> Server:
    """A Workspace and its claim, which a provisioner would have to release."""
    ids = itertools.count()
    core = ApiServer(now=moment, new_uid=lambda: f"uid-{next(ids)}")
    core.start()
    server = Server(core)
    for crd in (workspace_crd(), node_claim_crd()):
        await server.create(CUSTOM_RESOURCE_DEFINITION, "", crd)
    made = await server.create(WORKSPACE, "default", fresh(workspace("phi")))
    claim = node_claim("ws1", owner="phi", owner_uid=made["metadata"]["uid"])
    await server.create(NODE_CLAIM, "", fresh(claim, finalizers=["karpenter.sh/termination"]))
    return server


async def delete_the_kind(server: Server) -> None:
    ref = definition_of(WORKSPACE)
    found = await server.read(CUSTOM_RESOURCE_DEFINITION, ref)
    await server.delete(CUSTOM_RESOURCE_DEFINITION, ref, uid=found["metadata"]["uid"])


def on_virtual_time(scenario: Any) -> Any:
    return trio.run(scenario, clock=MockClock(autojump_threshold=0))


def test_what_was_not_asked_to_go_stays() -> None:
    async def scenario() -> None:
        server, said = await installed(), list[str]()
        assert await finish_uninstall(server, "kaito-workspace", within_s=60, tell=said.append) == 2
        assert said == [NOTHING]
        assert "deletionTimestamp" not in (await server.read(NODE_CLAIM, CLAIM))["metadata"]
        assert (await server.read(WORKSPACE, REF))["metadata"]["finalizers"]

    on_virtual_time(scenario)


def test_a_root_of_a_kind_that_goes_is_released_and_its_machine_named() -> None:
    async def scenario() -> None:
        server, said = await installed(), list[str]()
        await delete_the_kind(server)
        assert await finish_uninstall(server, "kaito-workspace", within_s=60, tell=said.append) == 0
        assert set(said[:2]) == {"being removed: workspaces", "workspace/default/phi is released"}
        assert said[2:] == [
            "NodeClaim ws1 is on its way out, held by karpenter.sh/termination: its provisioner releases the machine",
        ]
        assert (await server.read(NODE_CLAIM, CLAIM))["metadata"]["deletionTimestamp"]

    on_virtual_time(scenario)


def test_a_root_whose_machines_cannot_be_seen_is_not_released_and_named() -> None:
    async def scenario() -> None:
        server, said = await installed(), list[str]()
        server.is_blind = True
        await delete_the_kind(server)
        assert await finish_uninstall(server, "kaito-workspace", within_s=60, tell=said.append) == 1
        assert said[-1] == "workspace/default/phi still waits: kaito explain workspace/phi -n default"
        assert (await server.read(WORKSPACE, REF))["metadata"]["finalizers"]

    on_virtual_time(scenario)


@pytest.mark.parametrize(
    ("words", "wrong"), [(["--timeout=0"], "--timeout 0"), (["--kubeconfig=/nowhere"], "--kubeconfig '/nowhere'")]
)
def test_bad_flags_name_themselves(words: list[str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["uninstall", *words]) == 2
    assert wrong in capsys.readouterr().err
