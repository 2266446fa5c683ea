"""`kaito status`: what each Workspace waits for, in one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito.api.meta import Json
from kaito.cli.clients import find_kubeconfig
from kaito.cli.status import status_table
from tests.builders import at, moment


def workspace(name: str, namespace: str = "default", **status: object) -> Json:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": at(0)}
    return {"metadata": metadata, "status": status}


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
        workspace("a", state="Ready", targetNodeCount=1, workerNodes=["n1"]),
        workspace("c"),
    ]
    lines = status_table(found, moment(90))
    assert [line.split() for line in lines[:2]] == [
        ["NAMESPACE", "NAME", "STATE", "NODES", "AGE", "WAITS", "FOR", "SINCE", "NEXT", "STEP"],
        ["default", "a", "Ready", "1/1", "1m30s"],
    ]
    assert (
        "1/2" in lines[2]
        and "DevicePluginMissing: n1 does not offer nvidia.com/gpu   30s     check the driver" in lines[2]
    )
    assert "does it run?" in lines[3]


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
