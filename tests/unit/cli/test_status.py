"""`kaito status`: what each Workspace waits for, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from benchmarks.api_stub import ApiStub
from benchmarks.kubeconfig import kubeconfig
from kaito.api.meta import Json, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import find_kubeconfig
from kaito.cli.status import status_table
from kaito.cli.status_watch import fitting, follow
from tests.builders import at, moment


def workspace(name: str, namespace: str = "default", **status: object) -> Json:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": at(0)}
    return {"kind": "Workspace", "metadata": metadata, "status": status}


def ragengine(name: str, **spec: object) -> Json:
    return workspace(name, state="Ready", workerNodes=["n1"]) | {"kind": "RAGEngine", "spec": spec}


def test_ready_and_waiting_workspaces_in_order():
    blocker = {
        "gate": "GPUAllocatable",
        "reason": "DevicePluginMissing",
        "message": "n1 does not offer\nnvidia.com/gpu",
        "culprit": "node/n1",
        "since": at(60),
        "nextStep": "check the driver",
    }
    found = [
        workspace("b", state="Pending", targetNodeCount=2, workerNodes=["n1"], blockers=[blocker]),
        workspace("a", state="Ready", targetNodeCount=1, workerNodes=["n1"], timeline=[{"stage": "ServerReady"}])
        | {"resource": {"instanceType": "Standard_NC48ads_A100_v4"}},
        workspace("c"),
    ]
    lines = status_table(found, moment(90))
    assert [line.split() for line in lines[:2]] == [
        [
            "NAMESPACE",
            "KIND",
            "NAME",
            "STATE",
            "STAGE",
            "NODES",
            "GPUS",
            "AGE",
            "WAITS",
            "FOR",
            "SINCE",
            "NEXT",
            "STEP",
        ],
        ["default", "Workspace", "a", "Ready", "ServerReady", "1/1", "2", "1m30s"],
    ]
    assert (
        "1/2" in lines[2]
        and "DevicePluginMissing: n1 does not offer nvidia.com/gpu   30s     check the driver" in lines[2]
    )
    assert "does it run?" in lines[3]


def test_ragengines_come_after_the_workspaces_of_their_namespace():
    found = [ragengine("a", compute={"instanceType": "Standard_NC48ads_A100_v4"}), ragengine("b"), workspace("z")]
    rows = [line.split()[1:6] for line in status_table(found, moment(0))[1:]]
    assert rows[0][:2] == ["Workspace", "z"]
    assert rows[1:] == [["RAGEngine", "a", "Ready", "1/1", "2"], ["RAGEngine", "b", "Ready", "0s"]]


def test_a_live_table_fits_the_terminal():
    console = Console(width=80, height=5, force_terminal=True)
    assert fitting(list("abcd"), console) == list("abcd")
    assert fitting(list("abcdef"), console) == ["a", "b", "c", "… and 3 more"]


@pytest.mark.parametrize("kinds", [[WORKSPACE], [WORKSPACE, RAGENGINE]])
async def test_the_live_table_follows_the_cluster_whatever_kinds_it_has(tmp_path: Path, kinds: list[ResourceKind]):
    stub = ApiStub(kinds)
    stub.put("workspaces", workspace("a", state="Pending"))
    seen: list[list[str]] = []

    def render(found: Sequence[Json]) -> list[str]:
        states = sorted(f"{one['metadata']['name']} {one['status'].get('state')}" for one in found)
        seen.append(states)
        if "b Ready" in states:
            tasks.cancel_scope.cancel()
        return states

    async def change() -> None:
        while not stub.is_watched("workspaces"):  # noqa: ASYNC110 (the stub tells a watcher nothing of before)
            await anyio.sleep(0.01)
        stub.put("workspaces", workspace("b", state="Pending"), "ADDED")
        stub.put("workspaces", workspace("b", state="Ready"))

    async with stub.serving() as address:
        (tmp_path / "kubeconfig").write_text(kubeconfig(address))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change)
            await follow(tmp_path / "kubeconfig", "", render)
    assert seen[0] == ["a Pending"] and seen[-1] == ["a Pending", "b Ready"]


def test_long_words_are_cut():
    blocker = {"gate": "x", "reason": "R", "message": "word " * 100, "since": at(0)}
    (_, line) = status_table([workspace("a", blockers=[blocker])], moment(1))
    assert len(line) < 200 and "…" in line


def test_no_workspaces_is_said():
    assert status_table([], moment(0)) == ["no Workspaces"]


def test_the_kubeconfig_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(ValueError, match="kaito local up"):
        find_kubeconfig(None)
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    (tmp_path / "home" / ".kube" / "config").touch()
    assert find_kubeconfig(None) == tmp_path / "home" / ".kube" / "config"
    (tmp_path / ".kaito").mkdir()
    (tmp_path / ".kaito" / "kubeconfig").touch()
    assert find_kubeconfig(None) == Path(".kaito/kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "home" / ".kube" / "config"))
    assert find_kubeconfig(None) == tmp_path / "home" / ".kube" / "config"
    with pytest.raises(ValueError, match="no such file"):
        find_kubeconfig("absent")
