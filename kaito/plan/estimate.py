"""GPU memory → node count and parallelism, in upstream's formula, with the reasoning laid open.

A GPU is used to UTILIZATION of its memory. From that come a fixed reserve (CUDA context, activations) and the KV cache
of the context; what is left, less an overhead that grows with the weights, holds weights. `nodes` follows upstream to
the letter (`int() + 1`, the KV cache divided over one node's GPUs), so that both systems provision the same machines;
`nodes_exact` divides weights and cache over every GPU of the pipeline, as the engine really does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from kaito.plan.catalog import Preset, Sku

GIB = 1 << 30
UTILIZATION = 0.84
UTILIZATION_A10 = 0.82  # what the engine is told on an A10; the node count is computed with UTILIZATION there too
WEIGHTS_EXPANSION = 1.02
WEIGHTS_OVERHEAD = 1.05
RESERVE_BYTES = 2.3 * GIB
CONTEXT_TOKENS_DEFAULT = 2048
NODES_MAX = 10_000  # a bound for the search of nodes_exact, far above any real cluster


class DoesNotFit(ValueError):
    """Not even the reserve and the KV cache fit into one GPU."""


@dataclass(frozen=True, slots=True)
class Parallelism:
    data: int = 1
    tensor: int = 1
    pipeline: int = 1

    def __str__(self) -> str:
        if self.data > 1:
            return f"DP{self.data}"
        return f"PP{self.pipeline}xTP{self.tensor}" if self.pipeline > 1 else f"TP{self.tensor}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What one GPU holds, in bytes; `kv_cache` is the space that is left for it, at least the need of the context."""

    total: float
    usable: float
    reserve: float
    weights: float
    overhead: float
    kv_cache: float


@dataclass(frozen=True, slots=True)
class Estimate:
    nodes: int
    nodes_exact: int
    gpus: int  # the smallest number of GPUs that the formula asks for
    parallelism: Parallelism
    budget: Budget
    context_tokens: int
    context_tokens_max: int  # the largest context that fits these nodes, at most the model's own
    reasoning: str


def estimate_nodes(preset: Preset, sku: Sku, *, context_tokens: int = CONTEXT_TOKENS_DEFAULT) -> Estimate:
    """The nodes that a model needs. Raises DoesNotFit, and ValueError for a context that is not positive."""
    if context_tokens < 1:
        raise ValueError(f"context_tokens: {context_tokens} is not positive")
    per_gpu = sku.memory_gib * GIB // sku.gpus
    usable = per_gpu * UTILIZATION
    cache = context_tokens * _cache_per_gpu(preset, sku.gpus)
    if usable <= RESERVE_BYTES + cache:
        raise DoesNotFit(
            f"{preset.model_id} does not fit {sku.name}: of {per_gpu / GIB:.0f} GiB per GPU {usable / GIB:.1f} GiB "
            f"can be used, but {RESERVE_BYTES / GIB:.1f} GiB of reserve and {cache / GIB:.1f} GiB of KV cache "
            f"({context_tokens} tokens) leave nothing for the weights"
        )
    for_weights = (usable - RESERVE_BYTES - cache) / WEIGHTS_OVERHEAD
    gpus = int(preset.weights_bytes * WEIGHTS_EXPANSION / for_weights) + 1
    nodes = ceil(gpus / sku.gpus)
    shape = parallelism(preset, sku, nodes)
    budget = _budget(preset, sku, shape)
    return Estimate(
        nodes=nodes,
        nodes_exact=_nodes_exact(preset, sku, context_tokens),
        gpus=gpus,
        parallelism=shape,
        budget=budget,
        context_tokens=context_tokens,
        context_tokens_max=_context_tokens_max(preset, sku, shape, budget),
        reasoning=_reasoning(preset, sku, context_tokens, cache, gpus, nodes),
    )


def parallelism(preset: Preset, sku: Sku, nodes: int) -> Parallelism:
    """How the engine spreads the model: copies where half a GPU holds it, else slices, else stages of slices."""
    if nodes > 1:
        return Parallelism(tensor=sku.gpus, pipeline=nodes)
    if sku.gpus > 1 and preset.weights_bytes * sku.gpus * 2 < sku.memory_gib * GIB:
        return Parallelism(data=sku.gpus)
    return Parallelism(tensor=sku.gpus)


def gpu_memory_utilization(sku: Sku) -> float:
    """What the engine is told to use of each GPU."""
    return UTILIZATION_A10 if sku.model == "NVIDIA A10" else UTILIZATION


def _cache_per_gpu(preset: Preset, tensor: int) -> float:
    """Bytes of one token's KV cache on one GPU: the latent cache of MLA is not divided, every rank holds all of it."""
    return preset.bytes_per_token / (1 if preset.attention == "MLA" else tensor)


def cache_bytes_per_gpu(preset: Preset, shape: Parallelism) -> float:
    """Bytes of one token's KV cache on one GPU of this shape."""
    return _cache_per_gpu(preset, shape.tensor) / shape.pipeline


def _budget(preset: Preset, sku: Sku, shape: Parallelism) -> Budget:
    total = float(sku.memory_gib * GIB // sku.gpus)
    usable = total * gpu_memory_utilization(sku)
    weights = preset.weights_bytes * WEIGHTS_EXPANSION / (shape.tensor * shape.pipeline)
    overhead = weights * (WEIGHTS_OVERHEAD - 1)
    return Budget(
        total, usable, RESERVE_BYTES, weights, overhead, max(0.0, usable - RESERVE_BYTES - weights - overhead)
    )


def _context_tokens_max(preset: Preset, sku: Sku, shape: Parallelism, budget: Budget) -> int:
    per_token = cache_bytes_per_gpu(preset, shape)
    return (
        min(preset.context_tokens_max, floor(budget.kv_cache / per_token)) if per_token else preset.context_tokens_max
    )


def _nodes_exact(preset: Preset, sku: Sku, context_tokens: int) -> int:
    """The fewest nodes on which weights, overhead and cache fit, each divided over the whole pipeline."""
    usable = sku.memory_gib * GIB // sku.gpus * UTILIZATION - RESERVE_BYTES
    on_one_node = (
        preset.weights_bytes * WEIGHTS_EXPANSION * WEIGHTS_OVERHEAD / sku.gpus
        + context_tokens * _cache_per_gpu(preset, sku.gpus)
    )
    return min(NODES_MAX, max(1, ceil(on_one_node / usable)))


def _reasoning(preset: Preset, sku: Sku, context_tokens: int, cache: float, gpus: int, nodes: int) -> str:
    per_gpu = sku.memory_gib / sku.gpus
    return (
        f"{preset.weights_gib:.2f} GiB of weights, {context_tokens} tokens of context ({cache / GIB:.2f} GiB of KV "
        f"cache per GPU) and {RESERVE_BYTES / GIB:.1f} GiB of reserve, at {UTILIZATION:.0%} of {per_gpu:.0f} GiB per "
        f"GPU: {gpus} GPU{'s' if gpus > 1 else ''}, {nodes} node{'s' if nodes > 1 else ''} of {sku.gpus} ({sku.name})"
    )
