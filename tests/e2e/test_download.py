"""A model of the hub: while it is downloaded the server answers, and says how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.test_model_server import ADDRESS, free_port

pytest.importorskip("transformers")

MODEL, COMMIT = "org/small", "c" * 40
PIECE = bytes(1 << 20)
PIECES = 60  # the client writes 10 MiB at a time: fewer would not be seen to grow


class SlowHub:
    """The hub's listing and files of one model; `padding.dat` comes a piece at a time until `hurry`."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.hurry = asyncio.Event()

    async def listing(self, _: web.Request) -> web.Response:
        sizes = {name: len(data) for name, data in self.files.items()} | {"padding.dat": PIECES * len(PIECE)}
        siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
        return web.json_response({"id": MODEL, "sha": COMMIT, "siblings": siblings})

    async def tree(self, _: web.Request) -> web.Response:
        sizes = {name: len(data) for name, data in self.files.items()} | {"padding.dat": PIECES * len(PIECE)}
        entries = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
        return web.json_response(entries)

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(name.encode()).hexdigest()}"'}
        if name == "padding.dat":
            return await self._padding(request, headers)
        if name not in self.files:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        return web.Response(body=self.files[name], headers=headers)

    async def _padding(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        answer = web.StreamResponse(headers=headers | {"Content-Length": str(PIECES * len(PIECE))})
        await answer.prepare(request)
        if request.method != "HEAD":
            for _ in range(PIECES):
                await answer.write(PIECE)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.hurry.wait(), 0.1)
        return answer

    async def serve(self) -> tuple[str, web.AppRunner]:
        app = web.Application()
        app.router.add_get(f"/api/models/{MODEL}", self.listing)
        app.router.add_get(f"/api/models/{MODEL}/revision/{{revision}}", self.listing)
        app.router.add_get(f"/api/models/{MODEL}/tree/{{revision}}", self.tree)
        app.router.add_get(f"/{MODEL}/resolve/{{revision}}/{{name}}", self.file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, ADDRESS, 0).start()
        return f"http://{ADDRESS}:{runner.addresses[0][1]}", runner


@pytest.mark.timeout(100)
async def test_a_download_is_visible_in_metrics_and_probes(tmp_path: Path):
    from kaito.inference.engines.tiny import make_tiny

    await asyncio.to_thread(make_tiny, tmp_path / "model", "Phi3ForCausalLM")
    hub = SlowHub(tmp_path / "model")
    endpoint, runner = await hub.serve()
    port, log = free_port(), tmp_path / "log"
    flags = [f"--model={MODEL}", f"--host={ADDRESS}", f"--port={port}", f"--download-dir={tmp_path / 'cache'}"]
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kaito.inference", *flags, env=environment, stdout=out, stderr=out
        )
    try:
        async with aiohttp.ClientSession(f"http://{ADDRESS}:{port}") as session:
            rate, remaining, told = await seen_downloading(session, process)
            assert rate > 0 and remaining > 0
            assert re.search(r"downloading: \d+ of 6\d MiB at \d+\.\d MiB/s, \d+ s left", told)
            hub.hurry.set()
            while (await ask(session, "/ready", process))[0] != 200:
                pass
            _, metrics = await ask(session, "/metrics", process)
            assert gauge(metrics, "kaito_model_download_remaining_seconds") == 0
            assert re.search(r'^kaito_start_stage_seconds\{stage="downloading"\} [1-9]', metrics, re.M)
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


async def seen_downloading(
    session: aiohttp.ClientSession, process: asyncio.subprocess.Process
) -> tuple[float, float, str]:
    """(bytes a second, seconds left, what /ready says), as soon as there is a rate; the test's timeout is the bound."""
    while True:
        _, metrics = await ask(session, "/metrics", process)
        rate = gauge(metrics, "kaito_model_download_speed_bytes_per_second")
        if rate > 0:
            _, told = await ask(session, "/ready", process)
            return rate, gauge(metrics, "kaito_model_download_remaining_seconds"), told


async def ask(session: aiohttp.ClientSession, path: str, process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Between two questions the processor is the server's."""
    assert process.returncode is None
    await asyncio.sleep(0.1)
    try:
        async with session.get(path) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientError:
        return 0, ""


def gauge(metrics: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", metrics, re.M)
    return float(found[1]) if found else 0.0
