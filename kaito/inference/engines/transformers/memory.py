"""How many tokens the key-value cache may hold, and what to change when memory runs out."""

from __future__ import annotations

import os
from typing import Any

import torch

from kaito.inference.generation import GpuMemory
from kaito.inference.settings import ModelSettings

CPU_SHARE = 0.25  # of what is free: weights and cache share the machine with everything else
CPU_BYTES_MAX = 8 << 30
RESERVED_BYTES = 600 << 20
UTILIZATION_MAX = 0.95


def kv_bytes_per_token(model: Any) -> int:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize)


def kv_cache_tokens(model: Any, settings: ModelSettings, context_tokens: int) -> int:
    """Enough for all slots at full context, within the memory that may be used."""
    wanted = settings.slots_max * context_tokens
    budget = settings.kv_cache_bytes or _budget_bytes(model.device, settings.gpu_memory_utilization)
    return max(min(wanted, budget // kv_bytes_per_token(model)), 1024)


def _budget_bytes(device: torch.device, utilization: float | None) -> int:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        used = total - free
        share = min(utilization, UTILIZATION_MAX) if utilization is not None else UTILIZATION_MAX
        return max(int(total * share - used) - RESERVED_BYTES, 0)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else CPU_BYTES_MAX
    return min(int(float(free) * CPU_SHARE), CPU_BYTES_MAX)


def gpu_memory(device: torch.device) -> list[GpuMemory]:
    """As the driver has it: other processes' and the allocator's own reserve included."""
    if device.type != "cuda":
        return []
    free, total = torch.cuda.mem_get_info(device)
    return [GpuMemory(str(device), total - free, total)]


def out_of_memory_while_running(error: BaseException) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"out of memory ({reason}): lower --max-num-seqs, --max-model-len, --max-num-batched-tokens or "
        "--gpu-memory-utilization, or take an instance type with more GPU memory"
    )
