"""What vLLM is told beside the user's own flags: adapters, memory and offload, as they fit this machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GIB = 1 << 30
RESERVE_BYTES = 600 << 20  # of free GPU memory for the CUDA context and the allocator's fragments
UTILIZATION_MAX, UTILIZATION_UNKNOWN = 0.95, 0.84
MEASURE_TIMEOUT_S = 120
MEASURE = "import torch; free, total = torch.cuda.mem_get_info(); print(free, total)"
ADAPTER_FILE = "adapter_config.json"


def given(argv: Sequence[str], name: str) -> bool:
    """Whether `--name` or `--name=value` is there, with underscores or dashes."""
    spellings = {f"--{name}", f"--{name.replace('-', '_')}"}
    return any(word.partition("=")[0] in spellings for word in argv)


def adapter_flags(argv: Sequence[str], adapters: Path) -> list[str]:
    """Each folder that holds an adapter becomes a LoRA module of its name, unless the user named modules."""
    if given(argv, "lora-modules") or not adapters.is_dir():
        return []
    found = sorted(folder for folder in adapters.iterdir() if (folder / ADAPTER_FILE).is_file())
    if not found:
        return []
    modules = [json.dumps({"name": folder.name, "path": str(folder)}) for folder in found]
    rank = [] if given(argv, "max-lora-rank") else ["--max-lora-rank", str(_rank(found))]
    return ["--enable-lora", *rank, "--lora-modules", *modules]


def _rank(folders: Sequence[Path]) -> int:
    """The rank that vLLM must make room for: the next of its steps above the largest adapter's."""
    largest = max(int(json.loads((folder / ADAPTER_FILE).read_text()).get("r", 8)) for folder in folders)
    return next((step for step in (8, 16, 32, 64, 128, 256, 320, 512) if step >= largest), largest)


def kv_offload_flags(argv: Sequence[str], *, share: float, available_bytes: int, ranks: int) -> list[str]:
    """Host memory for evicted KV blocks, by vLLM's native offload: `share` of what is free, over the ranks.

    Upstream configures LMCache for this; vLLM's own needs no further package.
    A `--kv-transfer-config` is never replaced.
    """
    if share <= 0 or given(argv, "kv-transfer-config") or given(argv, "kv-offloading-size"):
        return []
    size_gib = math.floor(available_bytes * share / GIB / max(1, ranks) * 10) / 10
    return [f"--kv-offloading-size={size_gib * max(1, ranks):.1f}"] if size_gib > 0 else []


def memory_flags(argv: Sequence[str], *, has_gpu: bool) -> list[str]:
    """The share of GPU memory that is really free, where the user gave none."""
    if not has_gpu or given(argv, "gpu-memory-utilization"):
        return []
    return [f"--gpu-memory-utilization={measure_utilization():.2f}"]


def measure_utilization() -> float:
    """(free - 600 MiB) / total, down to two decimals, 0.95 at most.

    Measured in a process of its own, so that this one holds no CUDA context; correct on MIG slices too.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=MEASURE_TIMEOUT_S, check=True
        )
        free, total = (int(word) for word in answer.stdout.split())
    except (subprocess.SubprocessError, ValueError):
        return UTILIZATION_UNKNOWN
    return utilization(free, total)


def utilization(free_bytes: int, total_bytes: int) -> float:
    """What `measure_utilization` makes of its two figures. At least 0.01."""
    share = math.floor((free_bytes - RESERVE_BYTES) / total_bytes * 100) / 100
    return min(UTILIZATION_MAX, max(0.01, share))
