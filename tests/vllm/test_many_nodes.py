"""A model over two nodes as the operator plans it: real Ray and vLLM, one process group for each pod, the pods' probes.

The plan's command runs as it is but for what one machine without GPUs needs: loopback, a free port, the CPU's dtype,
and `ray_platform`, which offers the CPU to Ray.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from kaito.plan.desired.inference_command import ModelFlags, inference_command
from kaito.plan.estimate import Parallelism
from kaito.plan.pods.probes import server_probes
from kaito.plan.ports import RAY_PORT
from kaito.state.view import ServerCapabilities
from tests.vllm.conftest import FLAGS, MODEL, PYTHON, ROOT, START_TIMEOUT_S, entry_points, free_port

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT_S = 60.0
PROBES = server_probes(1.0, replicas=2, capabilities=ServerCapabilities())
# What the plan says for GPUs, and what holds here.
INSTEAD = {"--engine=auto": "--engine=vllm", "--dtype=bfloat16": "--dtype=float32"}
DROPPED = ("--kv-events-config", "--served-model-name", "--max-model-len")  # publishes to everybody; in FLAGS
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def isolation() -> list[str]:
    """Empty where we may not (it takes root)."""
    try:
        return UNSHARE if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


ISOLATION = isolation()


@dataclass
class Pod:
    name: str
    environment: dict[str, str]
    log: Path
    command: list[str] = field(default_factory=list)
    shell: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Where the machine allows it, with process numbers of its own, as a container has."""
        with self.log.open("ab") as output:
            self.shell = subprocess.Popen(
                [*ISOLATION, *self.command], env=self.environment, cwd=self.log.parent, stdout=output, stderr=output
            )
        while ISOLATION and not psutil.Process(self.shell.pid).children():
            pass  # it forks at once

    def main(self) -> psutil.Process:
        """Process 1 of the pod."""
        assert self.shell is not None
        shell = psutil.Process(self.shell.pid)
        return shell.children()[0] if ISOLATION else shell

    def passes(self, probe: str) -> bool:
        """As the kubelet asks."""
        return self.run(PROBES[probe]["exec"]["command"]).returncode == 0

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Inside, once it is started."""
        inside = ["nsenter", "--pid", "--mount", f"--target={self.main().pid}"] if ISOLATION and self.shell else []
        return subprocess.run(
            [*inside, *command],
            check=False,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=STOP_TIMEOUT_S,
        )

    def processes(self) -> list[psutil.Process]:
        """All of the pod's: Ray's leave their parents, but not their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("GROUP") == self.environment["GROUP"] and (
                    process.environ().get("POD_NAME") == self.name
                ):
                    found.append(process)
        return found

    def kill(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.shell is not None:
            self.shell.wait()


@dataclass
class Group:
    url: str
    leader: Pod
    worker: Pod
    asked_early: dict[str, bool]


@pytest.fixture(scope="module")
def group(checkpoint: Path) -> Iterator[Group]:
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets' paths are short
    entry_points(folder, ray_on_cpu="tests.vllm.ray_platform:platform")
    leader, worker = (
        Pod(f"tiny-{index}", environment(folder, index, port), checkpoint.parent / f"pod-{index}.log")
        for index in (0, 1)
    )
    leader.command = worker.command = command(checkpoint, free_port())
    found = Group(f"http://{LOOPBACK}:{port}", leader, worker, {})
    try:
        found.asked_early = {pod.name: pod.passes("readinessProbe") for pod in (leader, worker)}
        leader.start()
        worker.start()
        wait_ready(found)
        yield found
    finally:
        for pod in (leader, worker):
            pod.kill()
        shutil.rmtree(folder)


def environment(folder: Path, index: int, port: int) -> dict[str, str]:
    bin_folder = Path(PYTHON).parent
    return os.environ | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "HOME": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_OVERRIDE_RESOURCES": '{"GPU": 1, "CPU": 1}',
        "GROUP": folder.name,
        "POD_NAME": f"tiny-{index}",
        "KAITO_BIND_ADDRESS": LOOPBACK,
        "KAITO_BIND_PORT": str(port),
        "VLLM_HOST_IP": LOOPBACK,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
    }


def command(checkpoint: Path, ray_port: int) -> list[str]:
    planned = inference_command(
        ModelFlags(model=str(checkpoint), served_name=MODEL),
        Parallelism(tensor=1, pipeline=2, data=1),
        engine="auto",
        has_config=False,
        has_adapters=False,
        gpu_memory_utilization=0.84,
        performance_mode="",
        is_sliced=False,
        measures=False,
        leader_address=LOOPBACK,
    )
    shell, option, script, *rest = [INSTEAD.get(word, word) for word in planned if not word.startswith(DROPPED)]
    script = script.replace("ray start", f"ray start --node-ip-address={LOOPBACK}").replace(
        str(RAY_PORT), str(ray_port)
    )
    # Only a runner that compiles its steps is warmed up on a CPU, and only then has room for the other stage's output.
    return [shell, option, script, *rest, *(flag for flag in FLAGS if flag != "--enforce-eager")]


def wait_ready(group: Group) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S * 2
    while time.monotonic() < deadline and group.leader.shell is not None and group.leader.shell.poll() is None:
        if group.leader.passes("startupProbe"):
            return
        time.sleep(1)
    logs = "\n".join(pod.log.read_text(errors="replace")[-6000:] for pod in (group.leader, group.worker))
    pytest.fail(f"the group did not start:\n{logs}")


async def post(group: Group, body: dict[str, Any]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(f"{group.url}/v1/completions", json=body) as answer:
        return answer.status, await answer.json()


def test_both_pods_are_judged_by_their_part_in_the_group(group: Group) -> None:
    assert group.asked_early == {"tiny-0": False, "tiny-1": False}
    for pod in (group.leader, group.worker):
        assert [pod.passes(probe) for probe in ("startupProbe", "readinessProbe", "livenessProbe")] == [True] * 3
    assert "2.0/2.0 GPU" in group.worker.run(["ray", "status"]).stdout  # a stage of the model on each


async def test_two_nodes_say_what_the_model_says(group: Group, checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    for prompt in ("hello", "The capital of France is", "0123456789" * 12):
        ids = tokenizer(prompt, return_tensors="pt")
        expected = model.generate(**ids, do_sample=False, max_new_tokens=48)[0, ids["input_ids"].shape[1] :].tolist()
        body = {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 48, "return_token_ids": True}
        status, answer = await post(group, body)
        assert status == 200, answer
        assert answer["choices"][0]["token_ids"] == expected


@pytest.mark.skipif(not ISOLATION, reason="Ray takes the worker's processes, which it sees, for another head's")
async def test_a_leader_that_starts_over_gets_its_worker_back(group: Group) -> None:
    group.leader.kill()
    group.leader.start()
    wait_ready(group)
    assert (await post(group, {"model": MODEL, "prompt": "hello", "max_tokens": 4}))[0] == 200


async def test_a_worker_ends_when_told_and_the_leader_is_unhealthy_without_it(group: Group) -> None:
    assert group.worker.shell is not None
    group.worker.main().send_signal(signal.SIGTERM)
    assert group.worker.shell.wait(STOP_TIMEOUT_S) == 0
    _, left = psutil.wait_procs(group.worker.processes(), timeout=STOP_TIMEOUT_S)
    assert left == []
    while group.leader.passes("livenessProbe"):  # the marker's time limit is the bound; each look takes a while
        pass
    assert not group.leader.passes("readinessProbe")
    status, answer = await post(group, {"model": MODEL, "prompt": "hello"})
    assert status == 503 and "engine" in answer["error"]["message"]
