"""How much GPU memory tuning needs, and how many copies of the model a node holds."""

from __future__ import annotations

from kaito.plan.catalog import Preset, Sku

# Beside the weights: adapter, optimizer, activations of a short sequence with checkpointing.
OVERHEAD = 1.25
OVERHEAD_GIB = 2.0
QUANTIZED_SHARE = 0.35  # 4-bit weights with their scales, and the parts that stay in 16 bits


def memory_need_gib(preset: Preset, method: str) -> float:
    """GiB of GPU memory that one copy of the model needs while its adapter is trained."""
    share = QUANTIZED_SHARE if method == "qlora" and not preset.quant_method else 1.0
    return preset.weights_gib * share * OVERHEAD + OVERHEAD_GIB


def processes_on(preset: Preset, sku: Sku, method: str) -> int:
    """One a GPU where each holds the whole model, else one that spreads it over all of them."""
    per_gpu_gib = sku.memory_gib / max(1, sku.gpus)
    return sku.gpus if memory_need_gib(preset, method) <= per_gpu_gib else 1
