"""Two servers on one tiny model, to compare: ours with `--engine vllm`, and vLLM's own.

Skipped without KAITO_VLLM_PYTHON: `make test-vllm` sets it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PYTHON = os.environ.get("KAITO_VLLM_PYTHON", "")
ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0
MODEL = "tiny"
FLAGS = [
    f"--served-model-name={MODEL}",
    "--dtype=float32",
    "--max-model-len=1024",
    "--enforce-eager",
    "--max-num-seqs=16",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(START_TIMEOUT_S * 2))
            if not PYTHON:
                item.add_marker(pytest.mark.skip(reason="KAITO_VLLM_PYTHON is not set: make test-vllm"))


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    told: set[str] = field(default_factory=set)  # what it answered while it was not ready


@dataclass(frozen=True, slots=True)
class Pair:
    ours: Served
    own: Served


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights; heads of 32, the least that vLLM's CPU attention takes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kaito.inference.engines.tiny_tokenizer import tiny_tokenizer

    folder = tmp_path_factory.mktemp("vllm") / "model"
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(checkpoint: Path) -> Path:
    """A LoRA adapter that changes what the model says, beside the checkpoint."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = checkpoint.parent / "adapters" / "pirate"
    with torch.random.fork_rng():
        torch.manual_seed(11)
        base = AutoModelForCausalLM.from_pretrained(checkpoint)
        tuned = get_peft_model(base, LoraConfig(r=8, lora_alpha=64, target_modules=["q_proj", "v_proj"]))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        tuned.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def servers(checkpoint: Path, adapter: Path) -> Iterator[Pair]:
    ours = ["-m", "kaito.inference", "--engine=vllm", f"--model={checkpoint}", f"--kaito-adapters-dir={adapter.parent}"]
    own = ["-m", "vllm.entrypoints.openai.api_server", f"--model={checkpoint}"]
    own += ["--enable-lora", f"--lora-modules={adapter.name}={adapter}"]
    with ExitStack() as stack:
        started = [
            stack.enter_context(_server([*command, *FLAGS], checkpoint.parent / f"{name}.log"))
            for name, command in (("ours", ours), ("own", own))
        ]
        for server in started:
            _wait(server)
        yield Pair(*started)


@contextmanager
def _server(command: list[str], log: Path) -> Iterator[Served]:
    port = free_port()
    served = Served(f"http://127.0.0.1:{port}", start([*command, "--host=127.0.0.1", f"--port={port}"], log), log)
    try:
        yield served
    finally:
        stop(served.process)


def start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """vLLM's interpreter with these arguments, in a session of its own."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{entry_points(log.parent)}",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
    } | environment  # fmt: skip
    with log.open("wb") as output:
        return subprocess.Popen(
            [PYTHON, *command], env=environment, cwd=log.parent, stdout=output, stderr=output, start_new_session=True
        )


def entry_points(folder: Path, **platforms: str) -> Path:
    """What an installed kaito tells vLLM, and platforms: in vLLM's environment this checkout is not installed."""
    plugins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    plugins["vllm.platform_plugins"] = platforms
    dist = folder / "kaito_plugins-0.dist-info"
    dist.mkdir(exist_ok=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: kaito-plugins\nVersion: 0\n")
    groups = [[f"[{group}]", *(f"{name} = {where}" for name, where in each.items())] for group, each in plugins.items()]
    (dist / "entry_points.txt").write_text("\n".join(line for group in groups for line in group) + "\n")
    return folder


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(server: Served) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/v1/models", timeout=5):
                return
        except urllib.error.HTTPError as answer:
            server.told.add(answer.read().decode())
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"{server.log.name} did not start:\n{server.log.read_text(errors='replace')[-4000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
