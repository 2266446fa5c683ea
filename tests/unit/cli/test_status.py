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
            "OBJECT",
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
        ["default", "workspace/a", "Ready", "ServerReady", "1/1", "2", "1m30s"],
    ]
    assert (
        "1/2" in lines[2]
        and "DevicePluginMissing: n1 does not offer nvidia.com/gpu   30s     check the driver" in lines[2]
    )
    assert "does it run?" in lines[3]


def test_ragengines_come_after_the_workspaces_of_their_namespace():
    found = [ragengine("a", compute={"instanceType": "Standard_NC48ads_A100_v4"}), ragengine("b"), workspace("z")]
    rows = [line.split()[1:5] for line in status_table(found, moment(0))[1:]]
    assert rows[0][:1] == ["workspace/z"]
    assert rows[1:] == [["ragengine/a", "Ready", "1/1", "2"], ["ragengine/b", "Ready", "0s"]]


def test_a_live_table_fits_the_terminal():
    console = Console(width=80, height=5, force_terminal=True)
    assert fitting(list("abcd"), console) == list("abcd")
    assert fitting(list("abcdef"), console) == ["a", "b", "c", "… and 3 more"]


@pytest.mark.parametrize("kinds", [[WORKSPACE], [WORKSPACE, RAGENGINE]])
async def test_the_live_table_follows_the_cluster_whatever_kinds_it_has(tmp_path: Path, kinds: list[ResourceKind]):
    stub = ApiStub(kinds)
    stub.put("workspaces", workspace("a", state="Pending"))
    seen: list[list[str]] = []

    def render(found: Sequence[Json], width: int | None) -> list[str]:
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
    assert status_table([], moment(0)) == ["no Workspaces, InferenceSets or RAGEngines"]
    assert status_table([], moment(0), namespace="team")[0].endswith("in namespace team")


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


def root(kind: str, name: str, spec: Json | None = None, deleted: bool = False, **status: object) -> Json:
    metadata = {"name": name, "namespace": "default", "creationTimestamp": at(0)}
    metadata |= {"deletionTimestamp": at(50)} if deleted else {}
    return {"kind": kind, "metadata": metadata, "spec": spec or {}, "status": status}


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("   ") if cell.strip()]


def test_every_root_is_told_in_its_own_terms():
    progress = {"step": 10, "steps": 40, "etaSeconds": 190}
    compute = {"instanceType": "Standard_NC24ads_A100_v4"}
    released = {"gate": "Released", "reason": "NodeClaimTerminating", "message": "ws1", "since": at(60)}
    found = [
        workspace("tune", state="Running", progress=progress, targetNodeCount=1, workerNodes=["n1"]),
        root("InferenceSet", "phi", {"replicas": 3}, readyReplicas=2, replicas=3),
        root("RAGEngine", "docs", {"compute": compute}, state="Ready", workerNodes=["n2"]),
        root("RAGEngine", "old", deleted=True, state="Ready", blockers=[released]),
    ]
    table = status_table(found, moment(90))
    assert [[cell.strip() for cell in cells(line)][1:] for line in table[1:]] == [
        ["inferenceset/phi", "NotReady", "2/3 replicas", "1m30s"],
        ["workspace/tune", "Running", "step 10/40, 3m left", "1/1", "1m30s"],
        ["ragengine/docs", "Ready", "1/1", "1", "1m30s"],
        ["ragengine/old", "being deleted", "1m30s", "NodeClaimTerminating: ws1", "30s"],
    ]


@pytest.mark.parametrize("width", [8, 20, 40, 60, 80, 120, 400])
def test_the_table_fits_terminals_of_any_width(width: int):
    blocker = {"gate": "x", "reason": "R", "message": "word " * 30, "since": at(0), "nextStep": "do " * 30}
    found = [workspace("a-name-of-some-length", state="Pending", blockers=[blocker]), workspace("b", state="Ready")]
    lines = status_table(found, moment(90), width)
    assert max(map(len, lines)) <= width
    if width >= 40:
        assert "OBJECT" in lines[0] and "Pending" in lines[1] and "workspace/b" in lines[-1]
    if width == 400:
        assert len(lines) == 3 and "WAITS FOR" in lines[0] and "NEXT STEP" in lines[0]
    else:  # sentences stand below their row
        assert len(lines) == 5 and lines[2].strip().startswith("1m30s R: word"[: width - 3])
        assert lines[3].startswith("  next: do do do"[: width - 1])


def test_a_wide_terminal_cuts_nothing():
    found = [workspace("a", state="Pending"), workspace("b")]
    assert status_table(found, moment(1), 400) == status_table(found, moment(1))


async def test_a_cluster_without_the_crds_is_told_apart_from_an_empty_one(tmp_path: Path):
    async with ApiStub([]).serving() as address:
        (tmp_path / "kubeconfig").write_text(kubeconfig(address))
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="install the CRDs first"), flatten_subgroups=True):
            await follow(tmp_path / "kubeconfig", "", lambda found, width: [])
