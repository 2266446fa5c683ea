"""The model server as the planner starts it, a real process with the tiny stand-in for the preset."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kaito.plan.desired.inference_command import ModelFlags, inference_command
from kaito.plan.estimate import Parallelism

pytest.importorskip("transformers")

ADDRESS = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as found:
        found.bind((ADDRESS, 0))
        return int(found.getsockname()[1])


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.timeout(100)
def test_the_planners_command_serves_and_ends_in_order(tmp_path: Path):
    flags = ModelFlags("microsoft/Phi-3.5-mini-instruct", "phi-3.5-mini-instruct", "Phi3ForCausalLM")
    command = inference_command(
        flags,
        Parallelism(),
        engine="auto",
        has_config=False,
        has_adapters=False,
        gpu_memory_utilization=0.84,
        performance_mode="",
        is_sliced=False,
        measures=False,
        leader_address="",
    )
    port = free_port()
    environment = os.environ | {
        "KAITO_BIND_ADDRESS": ADDRESS,
        "KAITO_BIND_PORT": str(port),
        "KAITO_TINY_DIR": str(tmp_path / "tiny"),
        "KAITO_TINY_ARCHITECTURE": "Phi3ForCausalLM",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *command[1:]], env=environment, stdout=out, stderr=out)
    url = f"http://{ADDRESS}:{port}"
    try:
        wait_until_ready(url, process, log)
        status, models = ask(f"{url}/v1/models")
        assert status == 200 and models["data"][0]["id"] == "phi-3.5-mini-instruct"
        assert "random weights: Phi3ForCausalLM" in models["data"][0]["description"]
        messages = [{"role": "user", "content": "Which node?"}]
        body = {"model": "phi-3.5-mini-instruct", "messages": messages, "max_tokens": 9, "ignore_eos": True}
        status, answer = ask(f"{url}/v1/chat/completions", body)
        assert status == 200 and answer["usage"]["completion_tokens"] == 9
        status, wrong = ask(f"{url}/v1/chat/completions", body | {"model": "other"})
        assert status == 404 and "phi-3.5-mini-instruct" in wrong["error"]["message"]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(20)
        finally:
            process.kill()
    assert status == 0, log.read_text()
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["event"] == "server stopped" and last["drained"] is True


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 80
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ask(f"{url}/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)  # another process: there is nothing to wait on
    raise AssertionError(log.read_text())
