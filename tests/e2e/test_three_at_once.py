"""Three Workspaces at once on the local cluster: three machines, three model servers, each with its own answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kaito.api.core import NODE, POD, SERVICE
from kaito.api.meta import Json, ResourceKind
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.api.workspace import WORKSPACE
from kaito.cli.clients import open_client
from kaito.kube.client import KubeClient
from kaito.local.robots.settings import StageDelays
from tests.builders import workspace

for needed in ("torch", "transformers"):
    pytest.importorskip(needed)

DEADLINE_S = 240
STAGES = [name.removesuffix("_s").replace("_", "-") for name in StageDelays.__slots__ if name != "jitter"]
# Each a tiny stand-in of its own architecture: there are no weights here.
PRESETS = {"one": "phi-3.5-mini-instruct", "two": "qwen2.5-coder-7b-instruct", "three": "mistral-7b-instruct-v0.3"}
ADDRESS = "local.kaito.sh/address"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a local cluster runs, with the operator in it."""

    def kaito(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kaito", "local", *words, "--dir", str(tmp_path / "c")]
        env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)

    up = kaito("up", "--detach", *(word for stage in STAGES for word in ("--delay", f"{stage}=0")))
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield tmp_path / "c"
    finally:
        down = kaito("down")
    assert down.returncode == 0, down.stdout + down.stderr


def pids(folder: Path) -> set[int]:
    """Of the processes that the kubelet has started for containers."""
    return {int(path.read_text()) for path in folder.rglob("pods/*/containers/*/pid")}


def living(processes: set[int]) -> set[int]:
    return {pid for pid in processes if Path(f"/proc/{pid}").exists()}


def asked(service: Json, path: str, body: Json | None = None) -> Any:
    """What the server behind the Service says."""
    ports = dict(part.split("=") for part in service["metadata"]["annotations"][ADDRESS].split(","))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{ports['http']}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


async def items(client: KubeClient, kind: ResourceKind) -> list[Json]:
    found: list[Json] = json.loads(await client.list_page(kind))["items"]
    return found


async def until(is_met: Callable[[], Any], why: Callable[[], Any]) -> None:
    """Waits on processes that are not ours to be told by."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not await is_met():
        assert time.monotonic() < deadline_s, await why()
        await anyio.sleep(0.2)


@pytest.mark.timeout(DEADLINE_S * 2)
async def test_three_workspaces_made_at_once_each_answer_and_leave_nothing(folder: Path) -> None:
    client = await open_client(folder / "kubeconfig")
    for name, preset in PRESETS.items():
        body = workspace(name, preset=preset, finalizer=False)
        await client.create(WORKSPACE, "default", body | {"metadata": {"name": name, "namespace": "default"}})

    async def states() -> list[str]:
        return [str((item.get("status") or {}).get("state")) for item in await items(client, WORKSPACE)]

    async def are_ready() -> bool:
        return await states() == ["Ready"] * len(PRESETS)

    async def blockers() -> list[Any]:
        return [(item.get("status") or {}).get("blockers") for item in await items(client, WORKSPACE)]

    await until(are_ready, blockers)
    assert [len(await items(client, kind)) for kind in (NODE_CLAIM, NODE, POD)] == [len(PRESETS)] * 3
    processes = pids(folder)
    assert len(processes) == len(PRESETS) == len(living(processes))
    served = set()
    for name in PRESETS:
        service = await client.read(SERVICE, SERVICE.ref("default", name))
        model = (await anyio.to_thread.run_sync(asked, service, "/v1/models"))["data"][0]["id"]
        body = {"model": model, "prompt": "hello", "max_tokens": 4}
        answer = await anyio.to_thread.run_sync(asked, service, "/v1/completions", body)
        assert 0 < answer["usage"]["completion_tokens"] <= 4
        served.add(model)
    assert served == set(PRESETS.values())

    for item in await items(client, WORKSPACE):
        metadata = item["metadata"]
        await client.delete(WORKSPACE, WORKSPACE.ref("default", metadata["name"]), uid=metadata["uid"])

    async def is_empty() -> bool:
        return not any([await items(client, kind) for kind in (WORKSPACE, NODE_CLAIM, NODE, POD)])

    await until(is_empty, blockers)
    assert living(processes) == set()
    await client.aclose()
