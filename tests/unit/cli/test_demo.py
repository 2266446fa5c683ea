"""The whole demo, with an operator that plays its part from a script."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kaito.api.core import SERVICE
from kaito.api.meta import Json, ResourceKind
from kaito.api.ragengine import RAGENGINE
from kaito.api.workspace import WORKSPACE
from kaito.cli import demo, demo_way
from kaito.clock import rfc3339
from kaito.local.cluster import Served
from kaito.local.kubelet.service_proxy import ADDRESS_ANNOTATION
from tests.unit.local.robots.cluster import CoreCluster

TABLE = {
    "kind": "Table",
    "columnDefinitions": [{"name": "Name"}, {"name": "State"}],
    "rows": [{"cells": ["workspace-phi-3-5-mini", "Ready"]}],
}
MODELS = {"data": [{"id": "phi-3.5-mini-instruct", "kaito": {"weights": "random"}}]}
NODE = {"text": "To serve an adapter …", "metadata": {"file": "notes/a.md", "section": "Serve"}, "dense_score": 0.5}


def scripted(outcome: str) -> type:
    """Parts whose operator brings everything to an outcome: ready, failed, or a server mute or without sources."""

    class Parts:
        def __init__(self) -> None:
            self.cluster = CoreCluster(lambda: datetime.now(UTC))
            self.address = ""

        def open_core(self, *_: Any) -> CoreCluster:
            return self.cluster

        @asynccontextmanager
        async def serve(self, *_: Any) -> AsyncIterator[Served]:
            async with TestServer(_app(outcome)) as server:
                self.address = f"{server.host}:{server.port}"
                yield Served(f"http://{self.address}", "t0ken", "")

        async def run_operator(self, kubeconfig: Path, *, task_status: Any) -> None:
            task_status.started()
            while not self.cluster.store(WORKSPACE):
                await self.cluster.wake.wait()
            name = "workspace-phi-3-5-mini"
            await self._write(WORKSPACE, name, ["NodesPlanned"], "Pending", [_blocker("ClaimLaunched")])
            if outcome == "failed":
                await self._write(WORKSPACE, name, ["NodesPlanned"], "Failed", [_blocker("ClaimLaunched")])
            else:
                await self._finish(WORKSPACE, name, ["NodesPlanned", "ClaimLaunched", "ServerReady"])
            for ref in self.cluster.store(RAGENGINE):
                await self._finish(RAGENGINE, ref.name, ["NodesPlanned", "WorkloadCreated", "ServerReady"])
            await anyio.sleep_forever()

        async def _finish(self, kind: ResourceKind, name: str, stages: list[str]) -> None:
            service = {
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "annotations": {ADDRESS_ANNOTATION: self.address},
                },
                "spec": {"clusterIP": "None"},
            }
            await self.cluster.create(SERVICE, "default", service)
            await self._write(kind, name, stages, "Succeeded", [])

        async def _write(
            self, kind: ResourceKind, name: str, passed: list[str], outcome: str, blockers: list[Json]
        ) -> None:
            now = rfc3339(datetime.now(UTC))
            is_ready, reason = str(outcome == "Succeeded"), f"{kind.kind.lower()}{outcome}"
            status = {
                "state": "Ready" if outcome == "Succeeded" else "Pending",
                "timeline": [{"stage": stage, "at": now} for stage in passed],
                "blockers": blockers,
                "conditions": [
                    {"type": f"{kind.kind}Succeeded", "status": is_ready, "reason": reason, "lastTransitionTime": now}
                ],
            }
            await self.cluster.edit(kind, name, {"status": status})

    return Parts


def _blocker(gate: str) -> Json:
    return {
        "gate": gate,
        "reason": "LaunchFailed",
        "message": "quota is used up",
        "culprit": "nodeclaim/ws1",
        "since": rfc3339(datetime.now(UTC)),
        "nextStep": "ask for more",
    }


def _app(outcome: str) -> web.Application:
    async def table(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t0ken" and "as=Table" in request.headers["Accept"]
        return web.json_response(TABLE)

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": []} if outcome == "mute" else MODELS)

    async def index(request: web.Request) -> web.Response:
        return web.json_response((await request.json())["documents"])

    async def retrieve(request: web.Request) -> web.Response:
        assert (await request.json())["query"] == "What is served?"
        return web.json_response({"results": [NODE]})

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        if "index_name" in body:
            answer = {"choices": [{"message": {"content": "An adapter."}}]}
            return web.json_response(answer | {"source_nodes": [NODE] if outcome == "ready" else None})
        if body.get("stream"):
            events = [{"choices": [{"delta": {"content": word}}]} for word in ("It ", "watches.")]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            return web.Response(text=text, content_type="text/event-stream")
        return web.json_response(
            {"choices": [{"message": {"content": "It reconciles."}}], "usage": {"total_tokens": 9}}
        )

    app = web.Application()
    app.router.add_get("/apis/kaito.sh/v1beta1/namespaces/default/{plural}/{name}", table)
    app.router.add_post("/index", index)
    app.router.add_post("/retrieve", retrieve)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", chat)
    return app


def run_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: str, *words: str, example: str = demo.EXAMPLE
) -> int:
    file = Path(example).resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "parts", scripted(outcome))
    monkeypatch.setattr(demo_way, "FAILED_GRACE_S", 0.05)
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return demo.run(parser.parse_args(["--once", "--file", str(file), *words]))


def test_the_demo_shows_the_way_the_table_the_models_and_the_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_demo(monkeypatch, tmp_path, "ready") == 0
    shown = capsys.readouterr().out
    for words in (
        "nodes planned",
        "machine launched",
        "model loaded, server answers",
        "NAME                     STATE",
        '"id": "phi-3.5-mini-instruct"',
        "RANDOM",
        "phi-3.5-mini-instruct: It reconciles.",
        "phi-3.5-mini-instruct: It watches.",
    ):
        assert words in shown
    assert list(tmp_path.iterdir()) == []


def test_a_failure_ends_the_demo_with_its_causal_chain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_demo(monkeypatch, tmp_path, "failed") == 1
    shown = capsys.readouterr().out
    assert "because ClaimLaunched (LaunchFailed)" in shown and "next:   ask for more" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_answers_nonsense_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_demo(monkeypatch, tmp_path, "mute") == 1
    assert "lists no model" in capsys.readouterr().out


RAG = "examples/rag/quickstart.yaml"


@pytest.fixture
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("x") / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# Serve\n\nTo serve an adapter …\n")
    return folder


def test_with_a_ragengine_the_demo_shows_both_ways_up_what_is_found_and_an_answer_with_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--docs", str(notes), "--question", "What is served?")
    assert run_demo(monkeypatch, tmp_path, "ready", *words, example=RAG) == 0
    shown = capsys.readouterr().out
    for part in (
        "Workspace workspace-phi-3-5-mini",
        "RAGEngine docs",
        "Indexing 1 sections of 1 files",
        "  notes/a.md: Serve (cosine 0.50)  To serve an adapter",
        "phi-3.5-mini-instruct: An adapter.",
        "  [1] notes/a.md: Serve",
    ):
        assert part in shown
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_sources_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--docs", str(notes), "--question", "What is served?")
    assert run_demo(monkeypatch, tmp_path, "sourceless", *words, example=RAG) == 1
    assert "an answer without sources" in capsys.readouterr().out


def test_a_folder_without_text_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_demo(monkeypatch, tmp_path, "ready", "--docs", str(tmp_path / "none"), example=RAG) == 2
    assert "not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "a: [", "kind: Workspace", "[]", "kind: Pod\nmetadata: {name: x}"])
def test_a_file_that_is_no_workspace_is_refused_by_name(tmp_path: Path, text: str):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.yaml"):
        demo.load_objects(path)


def test_the_quick_start_is_the_well_known_one():
    (found,) = demo.load_objects(Path(demo.EXAMPLE))
    assert found == {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": "workspace-phi-3-5-mini"},
        "resource": {
            "instanceType": "Standard_NC24ads_A100_v4",
            "labelSelector": {"matchLabels": {"apps": "phi-3-5"}},
        },
        "inference": {"preset": {"name": "phi-3.5-mini-instruct"}},
    }
