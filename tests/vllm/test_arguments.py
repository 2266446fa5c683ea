"""The command line and the configuration file as vLLM's own parser understands them, and versions that are refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.vllm.conftest import PYTHON, ROOT, START_TIMEOUT_S

FILE = {
    "vllm": {
        "max-model-len": 512,
        "enable-prefix-caching": False,
        "enforce_eager": True,
        "gpu-memory-utilization": 0.5,
        "compilation-config": {"cudagraph_capture_sizes": [1, 2, 4], "pass_config": {"fuse_norm_quant": False}},
        "override-generation-config": {"temperature": 0.25},
        "served-model-name": ["one", "two"],
        "chat-template": None,
    },
    "queue_max": 7,
}
SERVER = ["-m", "kaito.inference", "--engine=vllm", "--host=127.0.0.1", "--port=0"]


def run(arguments: list[str], path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{path}:{ROOT}" if path else str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [PYTHON, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S
    )


def parsed(*flags: str) -> dict[str, Any]:
    done = run([str(Path(__file__).with_name("own_arguments.py")), *flags])
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_flags_and_the_files_own_types_arrive_and_the_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "inference_config.yaml"
    path.write_text(yaml.safe_dump(FILE))
    flags = (
        "--max-model-len=auto",
        "--tensor-parallel-size=2",
        "--kv-cache-dtype",
        "fp8",
        "--no-enable-prefix-caching",
    )
    found = parsed("--model=/models/m", f"--kaito-config-file={path}", *flags)
    expected = {
        "model": "/models/m",
        "max_model_len": 512,
        "tensor_parallel_size": 2,
        "kv_cache_dtype": "fp8",
        "enable_prefix_caching": False,
        "enforce_eager": True,
        "gpu_memory_utilization": 0.5,
        "override_generation_config": {"temperature": 0.25},
        "served_model_name": ["one", "two"],
        "chat_template": None,
    }
    assert {name: found[name] for name in expected} == expected
    assert "cudagraph_capture_sizes=[1, 2, 4]" in str(found["compilation_config"]).replace("'", "").replace(": ", "=")


def test_what_vllm_does_not_know_is_told_in_its_own_words(checkpoint: Path) -> None:
    done = run([*SERVER, f"--model={checkpoint}", "--no-such=1"])
    assert done.returncode == 1
    assert "vLLM does not accept these arguments: unrecognized arguments: --no-such=1" in done.stderr


def test_a_version_that_was_not_tried_is_refused_with_what_to_install(tmp_path: Path) -> None:
    dist = tmp_path / "vllm-0.99.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99.0\n")
    done = run([*SERVER, "--model=m"], tmp_path)
    assert done.returncode == 1
    assert "vllm 0.99.0 is installed" in done.stderr and "pip install 'vllm>=0.32,<0.34'" in done.stderr
